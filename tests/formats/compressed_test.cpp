#include "formats/compressed.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "base/deflate.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/temporary_folder.h"

namespace tandem {
namespace {

using test::gzip;

// With a checksum, as the program zstd writes by default.
std::string zstd(const std::string& text) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return out;
}

std::string skippable_frame(const std::string& bytes) {
  auto size = static_cast<uint32_t>(bytes.size());
  std::string frame("\x53\x2a\x4d\x18", 4);
  for (int shift = 0; shift < 32; shift += 8) frame += static_cast<char>(size >> shift & 0xFF);
  return frame + bytes;
}

// Words that compress about as text does, of any length.
std::string some_text(size_t bytes) {
  Rng rng(9, bytes);
  std::string text;
  while (text.size() < bytes) {
    for (uint32_t n = 2 + rng.below(6); n > 0; --n) text += static_cast<char>('a' + rng.below(26));
    text += rng.below(9) ? ' ' : '\n';
  }
  text.resize(bytes);
  return text;
}

struct Kind {
  const char* extension;
  std::string (*pack)(const std::string&);
};

struct CompressedTest : ::testing::TestWithParam<Kind> {
  std::filesystem::path write(const std::string& bytes) const {
    auto path = folder.path() / (std::string("a.jsonl") + GetParam().extension);
    test::put_file(path, bytes);
    return path;
  }
  static std::string read(const std::filesystem::path& path) {
    std::string text;
    read_pieces(path, compression_of(path), [&](std::string_view piece) { text += piece; });
    return text;
  }
  std::string error_of(const std::string& bytes) const {
    auto path = write(bytes);
    try {
      read(path);
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(path.filename().string()), std::string::npos) << error.what();
      return error.what();
    }
    return "";
  }
  static std::string pack(const std::string& text) { return GetParam().pack(text); }

  test::TemporaryFolder folder;
};

TEST_P(CompressedTest, GivesBackTextsOfAllSizes) {
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, (size_t{1} << 18) - 1, size_t{1} << 18, size_t{3'000'000}}) {
    std::string text = some_text(bytes);
    EXPECT_EQ(read(write(pack(text))), text) << bytes;
  }
  // Compresses a thousandfold: one piece of input fills many of output.
  std::string zeros(5'000'000, 'a');
  EXPECT_EQ(read(write(pack(zeros))), zeros);
}

TEST_P(CompressedTest, SeveralMembersAreOneText) {
  std::string a = some_text(700'000), b = some_text(10), c = some_text(300'000);
  EXPECT_EQ(read(write(pack(a) + pack(b) + pack("") + pack(c))), a + b + c);
}

TEST_P(CompressedTest, ZerosMayFollow) { EXPECT_EQ(read(write(pack("text") + std::string(700, '\0'))), "text"); }

TEST_P(CompressedTest, CutArchivesAreRefusedWhereverTheyAreCut) {
  std::string whole = pack(some_text(3000));
  for (size_t bytes = 0; bytes < whole.size(); bytes += bytes < 40 ? 1 : 37) {
    EXPECT_NE(error_of(whole.substr(0, bytes)).find("damaged"), std::string::npos) << bytes;
  }
  EXPECT_NE(error_of(whole + whole.substr(0, 50)).find("damaged"), std::string::npos);
}

TEST_P(CompressedTest, OtherBytesAreRefused) {
  EXPECT_NE(error_of("plain text, whatever the name says").find("damaged"), std::string::npos);
  EXPECT_NE(error_of(pack("text") + "more").find("bytes behind its end"), std::string::npos);
}

TEST_P(CompressedTest, DamageIsFoundOrHarmless) {
  std::string text = some_text(20'000), whole = pack(text);
  Rng rng(4, 4);
  int found = 0;
  for (int round = 0; round < 200; ++round) {
    std::string bytes = whole;
    bytes[rng.below(static_cast<uint32_t>(bytes.size()))] ^= static_cast<char>(1 << rng.below(8));
    bool refused = !error_of(bytes).empty();
    found += refused;
    // Headers hold times and flags that change nothing.
    if (!refused) {
      EXPECT_EQ(read(write(bytes)), text);
    }
  }
  EXPECT_GT(found, 150);
}

INSTANTIATE_TEST_SUITE_P(Kinds, CompressedTest, ::testing::Values(Kind{".gz", gzip}, Kind{".zst", zstd}),
                         [](const auto& kind) { return kind.param.extension + 1; });

TEST(Compressed, FramesToSkipAreSkipped) {
  test::TemporaryFolder folder;
  auto path = folder.path() / "a.txt.zst";
  std::string bytes = skippable_frame("a table of contents") + zstd("one ") + skippable_frame("") + zstd("two");
  test::put_file(path, bytes);
  std::string text;
  read_pieces(path, Compression::zstd, [&](std::string_view piece) { text += piece; });
  EXPECT_EQ(text, "one two");
}

TEST(Compressed, KindsAreToldByTheLastExtension) {
  EXPECT_EQ(compression_of("a.jsonl.gz"), Compression::gzip);
  EXPECT_EQ(compression_of("a.zst"), Compression::zstd);
  EXPECT_EQ(compression_of("a.gz.txt"), Compression::none);
}

TEST(Compressed, PlainFilesComeInOnePiece) {
  test::TemporaryFolder folder;
  test::put_file(folder.path() / "a.txt", "abc");
  test::put_file(folder.path() / "empty.txt", "");
  std::vector<std::string> pieces;
  auto keep = [&](std::string_view piece) { pieces.emplace_back(piece); };
  read_pieces(folder.path() / "a.txt", Compression::none, keep);
  read_pieces(folder.path() / "empty.txt", Compression::none, keep);
  EXPECT_EQ(pieces, (std::vector<std::string>{"abc"}));
  EXPECT_THROW(read_pieces(folder.path() / "none.gz", Compression::gzip, keep), InputError);
}

}  // namespace
}  // namespace tandem
