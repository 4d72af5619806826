// SentencePiece .model files: what is refused, and our own code against the library.
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <bit>

#include "base/error.h"
#include "text/helpers.h"
#include "text/sentencepiece_file.h"
#include "text/tokenizer.h"

namespace tandem {
namespace {

using Ids = std::vector<int32_t>;
using Type = SentencePieceFile::Type;
using Kind = SentencePieceFile::Kind;

// Writes the few fields that the tests vary.
std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string number_field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}

std::string bytes_field(int number, const std::string& bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string piece(const std::string& text, float score = 0, Type type = Type::normal) {
  uint32_t bits = std::bit_cast<uint32_t>(score);
  std::string message = bytes_field(1, text) + varint(2 << 3 | 5);
  for (int shift = 0; shift < 32; shift += 8) message += static_cast<char>(bits >> shift & 0xFF);
  return bytes_field(1, message + number_field(3, static_cast<uint64_t>(type)));
}

std::string trainer(Kind kind, bool byte_fallback = false) {
  return bytes_field(2, number_field(3, static_cast<uint64_t>(kind)) + number_field(35, byte_fallback));
}

// No dummy prefix, no spaces removed.
std::string plain_normalizer() { return bytes_field(3, number_field(3, 0) + number_field(4, 0)); }

std::string unknown() { return piece("<unk>", 0, Type::unknown); }

Tokenizer parse(const std::string& bytes) { return Tokenizer::parse(bytes, "m.model", TokenizerFormat::sentencepiece); }

std::string complaint(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(SentencePiece, SmallBpe) {
  Tokenizer tokenizer = parse(unknown() + piece("a", -3) + piece("b", -4) + piece("ab", -1) + piece("ba", -2) +
                              piece("<s>", 0, Type::control) + trainer(Kind::bpe) + plain_normalizer());
  EXPECT_EQ(tokenizer.encode("aba"), (Ids{3, 1}));
  EXPECT_EQ(tokenizer.encode("bab"), (Ids{2, 3})) << "the higher score first";
  EXPECT_EQ(tokenizer.encode("a\u65E5\u672Cb"), (Ids{1, 0, 2})) << "unknown neighbours are one";
  EXPECT_EQ(tokenizer.encode("<s>a"), (Ids{0, 1})) << "control pieces are not found in text";
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.decode(Ids{5, 3, 0, 1}), "ab \u2047 a");
  EXPECT_EQ(tokenizer.token_to_id("<s>"), 5);
  EXPECT_TRUE(tokenizer.is_special(5));
  EXPECT_FALSE(tokenizer.is_special(0));
  EXPECT_EQ(tokenizer.vocab_size(), 6);
  EXPECT_EQ(tokenizer.file_name(), "tokenizer.model");
  EXPECT_THROW(tokenizer.decode(Ids{6}), InputError);
}

TEST(SentencePiece, UserDefinedPiecesAreTakenWhole) {
  std::string pieces = unknown() + piece("a", -1) + piece("b", -1) + piece("bc", -0.5F) + piece("c", -1) +
                       piece("ab", 0, Type::user_defined) + piece("ab c", 0, Type::user_defined);
  for (Kind kind : {Kind::bpe, Kind::unigram}) {
    Tokenizer tokenizer = parse(pieces + trainer(kind) + plain_normalizer());
    EXPECT_EQ(tokenizer.encode("abc"), (Ids{5, 4}));
    EXPECT_EQ(tokenizer.encode("bcab"), (Ids{3, 5}));
  }
}

TEST(SentencePiece, ByteFallback) {
  std::string pieces = unknown() + piece("a", -1);
  for (int byte = 0; byte < 256; ++byte) pieces += piece(fmt::format("<0x{:02X}>", byte), 0, Type::byte);
  for (Kind kind : {Kind::bpe, Kind::unigram}) {
    Tokenizer tokenizer = parse(pieces + trainer(kind, true) + plain_normalizer());
    EXPECT_EQ(tokenizer.encode("a\u00E9a"), (Ids{1, 2 + 0xC3, 2 + 0xA9, 1}));
    EXPECT_EQ(tokenizer.decode(Ids{1, 2 + 0xC3, 2 + 0xA9, 2 + 0xC3, 1}), "a\u00E9\uFFFDa");
  }
}

// Pieces that are not used make the library's way of undoing merges necessary.
TEST(SentencePiece, UnusedPiecesGoThroughTheLibrary) {
  Tokenizer tokenizer = parse(unknown() + piece("a", -3) + piece("b", -4) + piece("ab", -1, Type::unused) +
                              trainer(Kind::bpe) + plain_normalizer());
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{1, 2, 1, 2}));
  Tokenizer unigram = parse(unknown() + piece("a", -3) + piece("b", -4) + piece("ab", -1, Type::unused) +
                            trainer(Kind::unigram) + plain_normalizer());
  EXPECT_EQ(unigram.encode("abab"), (Ids{1, 2, 1, 2}));
}

TEST(SentencePiece, ContradictionsAreRefused) {
  std::string good = unknown() + piece("a") + trainer(Kind::unigram);
  EXPECT_EQ(complaint(good), "accepted");
  EXPECT_TRUE(complaint("").starts_with("no pieces: m.model"));
  EXPECT_TRUE(complaint("{}").starts_with("broken SentencePiece model: m.model"));
  EXPECT_TRUE(complaint(good + unknown()).starts_with("piece given twice: m.model: got '<unk>'"));
  EXPECT_TRUE(complaint(piece("a")).starts_with("number of unknown pieces: m.model: got 0"));
  EXPECT_TRUE(complaint(good + piece("<u>", 0, Type::unknown)).starts_with("number of unknown pieces: m.model: got 2"));
  EXPECT_TRUE(complaint(good + piece("")).starts_with("length of a piece: m.model"));
  EXPECT_TRUE(complaint(good + piece(std::string(5000, 'x'))).starts_with("length of a piece: m.model"));
  EXPECT_TRUE(complaint(good + piece("\xFF")).starts_with("text of a piece: m.model"));
  EXPECT_TRUE(complaint(good + piece(std::string("x\0y", 3))).starts_with("text of a piece: m.model"));
  EXPECT_TRUE(complaint(good + piece("b", std::numeric_limits<float>::infinity())).starts_with("score of a piece"));
  EXPECT_TRUE(complaint(good + piece("b", 0, static_cast<Type>(9))).starts_with("unknown type of piece: m.model"));
  EXPECT_TRUE(complaint(good + piece("<0x00>", 0, Type::byte)).starts_with("number of byte pieces: m.model: got 1"));
  EXPECT_TRUE(complaint(good + piece("<0xyz>", 0, Type::byte)).starts_with("wrong byte piece: m.model"));
  EXPECT_TRUE(complaint(good + trainer(static_cast<Kind>(7))).starts_with("unknown kind of SentencePiece model"));
  EXPECT_TRUE(complaint(good + trainer(Kind::bpe, true)).starts_with("number of byte pieces: m.model: got 0"));
  EXPECT_TRUE(complaint(good + bytes_field(3, bytes_field(2, "xy"))).starts_with("broken character map: m.model"));
  EXPECT_TRUE(complaint(good + bytes_field(5, bytes_field(2, "xy"))).starts_with("a denormalizer is not supported"));
}

TEST(SentencePiece, DamagedFilesAreRefusedOrHarmless) {
  for (const char* name : {"spm_unigram", "spm_bpe", "spm_char"}) {
    std::string whole = read_file(test::golden_tokenizers() / name / "tokenizer.model");
    Rng rng(29, 0);
    for (int round = 0; round < 150; ++round) {
      std::string bytes = whole;
      if (round % 3 == 0) bytes.resize(rng.below(static_cast<uint32_t>(whole.size())));
      for (uint32_t n = rng.below(4); n > 0 && !bytes.empty(); --n) {
        bytes[rng.below(static_cast<uint32_t>(bytes.size()))] = static_cast<char>(rng.below(256));
      }
      try {
        Tokenizer tokenizer = parse(bytes);
        std::string text = tokenizer.decode(tokenizer.encode("First Citizen:\nA \uFB01sh <sep> \u65E5\u672C"));
        ASSERT_EQ(valid_utf8_prefix(text), text.size());
      } catch (const InputError& error) {
        ASSERT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    }
  }
}

class AgainstTheLibrary : public testing::TestWithParam<const char*> {};

// Not Unigram: between equal scores the library of Debian 12 decides otherwise than today's, whose results the golden
// cases hold.
TEST_P(AgainstTheLibrary, RandomText) {
  auto file = test::golden_tokenizers() / GetParam() / "tokenizer.model";
  Tokenizer tokenizer = Tokenizer::load(file);
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.Load(file.string()).ok());
  Rng rng(23, 0);
  const char* kWords[] = {"<sep>", " the  end", "\u2581\u2581", "Citizen", " speak", "12345", "\u65E5\u672C", "\n"};
  for (int round = 0; round < 1500; ++round) {
    std::string text = test::random_text(rng, 12);
    for (uint32_t n = rng.below(6); n > 0; --n) text += kWords[rng.below(8)] + test::random_text(rng, 3);
    std::vector<int> ids;
    ASSERT_TRUE(library.Encode(text, &ids).ok());
    ASSERT_EQ(tokenizer.encode(text), ids) << text;
    std::string decoded;
    ASSERT_TRUE(library.Decode(ids, &decoded).ok());
    ASSERT_EQ(tokenizer.decode(ids), decoded) << text;
    for (int& id : ids) id = static_cast<int>(rng.below(static_cast<uint32_t>(tokenizer.vocab_size())));
    ASSERT_TRUE(library.Decode(ids, &decoded).ok());
    ASSERT_EQ(tokenizer.decode(ids), decoded) << fmt::format("{}", fmt::join(ids, " "));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, AgainstTheLibrary, testing::Values("spm_bpe", "spm_suffix", "spm_char", "spm_word"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace tandem
