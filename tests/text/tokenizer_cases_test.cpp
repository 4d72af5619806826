// Equality with the recorded results of the reference library.
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "base/json.h"
#include "text/detokenizer.h"
#include "text/helpers.h"
#include "text/tokenizer.h"

namespace tandem {
namespace {

using Ids = std::vector<int32_t>;

std::string detokenize(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  Detokenizer detokenizer(tokenizer, skip_special);
  std::string text;
  for (int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

// What a line leaves out is as without special tokens (golden/tokenizer/NOTES.md).
void check(const Tokenizer& tokenizer, const Json& line) {
  Ids ids = line["ids"].get<Ids>();
  if (line.contains("text")) {
    std::string text = line["text"].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text), ids) << line;
    EXPECT_EQ(tokenizer.encode(text, true), line.value("ids_special", ids)) << line;
  }
  std::string decoded = line["decoded"].get<std::string>();
  std::string skipped = line.value("decoded_skip", decoded);
  EXPECT_EQ(tokenizer.decode(ids), decoded) << line;
  EXPECT_EQ(tokenizer.decode(ids, true), skipped) << line;
  EXPECT_EQ(detokenize(tokenizer, ids, false), decoded) << line;
  EXPECT_EQ(detokenize(tokenizer, ids, true), skipped) << line;
}

void check_all(const std::filesystem::path& tokenizer_json, const std::filesystem::path& cases) {
  Tokenizer tokenizer = Tokenizer::load(tokenizer_json);
  auto lines = test::read_cases(cases);
  ASSERT_GE(lines.size(), 50u) << cases;
  for (const Json& line : lines) check(tokenizer, line);
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, EqualsTheLibrary) {
  auto folder = test::golden_tokenizers() / GetParam();
  check_all(folder / "tokenizer.json", folder / "cases.jsonl");
}

class GoldenModel : public testing::TestWithParam<const char*> {};

TEST_P(GoldenModel, EqualsTheLibrary) {
  auto folder = test::golden_tokenizers() / GetParam();
  check_all(folder / "tokenizer.model", folder / "cases.jsonl");
}

INSTANTIATE_TEST_SUITE_P(SentencePiece, GoldenModel,
                         testing::Values("spm_bpe", "spm_unigram", "spm_suffix", "spm_word", "spm_char"),
                         [](const auto& one) { return std::string(one.param); });

INSTANTIATE_TEST_SUITE_P(Tokenizers, Golden,
                         testing::Values("gpt2", "llama3", "gaps", "added", "fallback", "metaspace", "words", "o200k"),
                         [](const auto& one) { return std::string(one.param); });

struct SharedCase {
  const char* tokenizer;
  const char* cases;
};

class Shared : public testing::TestWithParam<SharedCase> {};

TEST_P(Shared, EqualsTheLibrary) {
  auto folder = test::shared_tokenizers();
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not here";
  check_all(folder / GetParam().tokenizer, folder / GetParam().cases);
}

INSTANTIATE_TEST_SUITE_P(
    Tokenizers, Shared,
    testing::Values(SharedCase{"tokenizer_32k.json", "cases.jsonl"},
                    SharedCase{"tokenizer_32k.json", "decode_cases.jsonl"},
                    SharedCase{"gpt2_bpe_8k/tokenizer.json", "gpt2_bpe_8k/cases.jsonl"},
                    SharedCase{"gpt2_bpe_8k/tokenizer.json", "gpt2_bpe_8k/decode_cases.jsonl"},
                    SharedCase{"split_bpe_6k/tokenizer.json", "split_bpe_6k/cases.jsonl"},
                    SharedCase{"split_bpe_6k/tokenizer.json", "split_bpe_6k/decode_cases.jsonl"},
                    SharedCase{"llama_spm_bpe_8k/tokenizer.json", "llama_spm_bpe_8k/cases.jsonl"},
                    SharedCase{"llama_spm_bpe_8k/tokenizer.json", "llama_spm_bpe_8k/decode_cases.jsonl"},
                    SharedCase{"t5_unigram_6k/tokenizer.json", "t5_unigram_6k/cases.jsonl"},
                    SharedCase{"t5_unigram_6k/tokenizer.json", "t5_unigram_6k/decode_cases.jsonl"},
                    SharedCase{"llama_spm_bpe_8k/tokenizer.model", "llama_spm_bpe_8k/cases_sentencepiece.jsonl"},
                    SharedCase{"t5_unigram_6k/spiece.model", "t5_unigram_6k/cases_sentencepiece.jsonl"}));

TEST(Detokenizer, EveryPieceIsTextAndTheSumIsDecode) {
  for (const char* name : {"gpt2", "fallback", "metaspace", "words", "added", "spm_bpe", "spm_unigram"}) {
    auto folder = test::golden_tokenizers() / name;
    Tokenizer tokenizer = Tokenizer::load_from_folder(folder);
    Rng rng(11, 0);
    for (int round = 0; round < 400; ++round) {
      Ids ids;
      for (uint32_t n = rng.below(16); n > 0; --n) {
        ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint32_t>(tokenizer.vocab_size()))));
      }
      Detokenizer detokenizer(tokenizer);
      std::string text;
      for (int32_t id : ids) {
        std::string piece = detokenizer.push(id);
        ASSERT_EQ(valid_utf8_prefix(piece), piece.size());
        text += piece;
        ASSERT_TRUE(tokenizer.decode(ids).starts_with(text)) << "text was given out before it was certain";
      }
      text += detokenizer.finish();
      ASSERT_EQ(text, tokenizer.decode(ids));
    }
  }
}

TEST(Detokenizer, HoldsBackHalfCharactersOnly) {
  Tokenizer tokenizer = Tokenizer::load(test::golden_tokenizers() / "gpt2/tokenizer.json");
  auto id = [&](const char* token) { return tokenizer.token_to_id(token).value(); };
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push(id("a")), "a");
  EXPECT_EQ(detokenizer.push(id("Ã")), "");  // byte 0xC3
  EXPECT_EQ(detokenizer.push(id("©")), "é");
  EXPECT_EQ(detokenizer.push(id("Ã")), "");
  EXPECT_EQ(detokenizer.push(id("b")), "\uFFFDb");
  EXPECT_EQ(detokenizer.push(id("Ã")), "");
  EXPECT_EQ(detokenizer.finish(), "\uFFFD");
  EXPECT_EQ(detokenizer.push(id("a")), "a") << "ready for another text";
}

TEST(Tokenizer, BytesGoThereAndBack) {
  Tokenizer tokenizer = Tokenizer::load(test::golden_tokenizers() / "gpt2/tokenizer.json");
  Rng rng(13, 0);
  for (int round = 0; round < 500; ++round) {
    std::string text = test::random_text(rng, 200);
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(Tokenizer, SeveralThreadsMayEncode) {
  const Tokenizer tokenizer = Tokenizer::load(test::golden_tokenizers() / "o200k/tokenizer.json");
  std::string text;
  for (const Json& line : test::read_cases(test::golden_tokenizers() / "o200k/cases.jsonl")) {
    if (line.contains("text")) text += line["text"].get<std::string>();
  }
  const Ids expected = tokenizer.encode(text);
  std::array<Ids, 4> found;
  std::vector<std::thread> threads;
  for (Ids& ids : found) threads.emplace_back([&] { ids = tokenizer.encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : found) EXPECT_EQ(ids, expected);
}

}  // namespace
}  // namespace tandem
