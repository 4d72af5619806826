// Bytes from strangers: each ends in one InputError or in tensors that lie within the file.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "base/error.h"
#include "base/rng.h"
#include "base/temporary_folder.h"
#include "formats/gguf.h"
#include "formats/hostile_files.h"
#include "formats/zip_bytes.h"

namespace tandem {
namespace {

using test::message_of;
using test::read_hostile_files;
using test::TemporaryFolder;

std::string text(std::string_view text) { return little_endian(uint64_t{text.size()}) + std::string(text); }
std::string pair(std::string_view key, uint32_t type, const std::string& value) {
  return text(key) + little_endian(type) + value;
}
std::string tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
  std::string out = text(name) + little_endian(static_cast<uint32_t>(sizes.size()));
  for (uint64_t size : sizes) out += little_endian(size);
  return out + little_endian(type, offset);
}

struct Parts {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<std::string> pairs, tensors;
  uint64_t data = 64;
  uint64_t more_pairs = 0, more_tensors = 0;  // in the counts alone

  std::string bytes() const {
    std::string out = magic + little_endian(version, tensors.size() + more_tensors, pairs.size() + more_pairs);
    for (const std::string& p : pairs) out += p;
    for (const std::string& t : tensors) out += t;
    out.resize((out.size() + 31) / 32 * 32, '\0');
    return out + std::string(data, '\1');
  }
};

std::string refusal(const std::string& bytes) {
  TemporaryFolder folder;
  std::string path = (folder / "f").string();
  test::put_file(path, bytes);
  std::string message = message_of<InputError>([&] { GgufFile::open(path); });
  size_t at = message.find(path);
  EXPECT_NE(at, std::string::npos) << "does not name the file: " << message;
  return at == std::string::npos ? message : message.replace(at, path.size(), "F");
}
std::string refusal_of_pair(const std::string& pair) { return refusal(Parts{.pairs = {pair}}.bytes()); }
std::string refusal_of_tensor(const std::string& tensor) { return refusal(Parts{.tensors = {tensor}}.bytes()); }

int64_t touch(GgufFile& file) {
  int64_t sum = 0;
  for (const std::string& name : file.names()) {
    Tensor t = file.tensor(name);
    const auto* bytes = static_cast<const unsigned char*>(t.data);
    for (int64_t i = 0; i < t.bytes(); ++i) sum += bytes[i];
  }
  return sum;
}

Parts good() {
  return {.pairs = {pair("general.architecture", 8, text("llama")),
                    pair("words", 9, little_endian(8u, uint64_t{2}) + text("a") + text("bc"))},
          .tensors = {tensor("a", {4, 2}, 0, 0), tensor("b", {32}, 8, 32), tensor("c", {}, 0, 96)},
          .data = 100};
}

TEST(HostileGguf, TheBuilderMakesFilesThatAreRead) {
  for (uint32_t version : {2u, 3u}) {
    TemporaryFolder folder;
    Parts parts = good();
    parts.version = version;
    test::put_file(folder / "f", parts.bytes());
    GgufFile file = GgufFile::open(folder / "f");
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(file.shape("a"), (Shape{2, 4}));
    EXPECT_EQ(file.tensor("b").as<float>()[31], file.tensor("b").as<float>()[0]);
    EXPECT_EQ(file.tensor("c").elements(), 1);
  }
}

TEST(HostileGguf, OtherFilesAndTruncatedOnes) {
  std::string whole = good().bytes();
  for (size_t length = 0; length < whole.size(); length += 3) EXPECT_FALSE(refusal(whole.substr(0, length)).empty());
  EXPECT_EQ(refusal(""), "not a GGUF file: F: got other bytes at its beginning, expected 'GGUF'");
  EXPECT_EQ(refusal("GGML1234567890"), "not a GGUF file: F: got other bytes at its beginning, expected 'GGUF'");
  EXPECT_EQ(refusal(Parts{.version = 1}.bytes()),
            "unsupported version of GGUF: F: got 1, expected 2 or 3, little-endian");
  EXPECT_EQ(refusal(Parts{.version = 3u << 24}.bytes()),
            "unsupported version of GGUF: F: got a big-endian file, expected 2 or 3, little-endian");
  for (uint64_t count : {uint64_t{100}, uint64_t{1} << 40, UINT64_MAX}) {
    EXPECT_TRUE(refusal(Parts{.more_pairs = count}.bytes()).starts_with("not a GGUF file, or a truncated one"));
    EXPECT_TRUE(refusal(Parts{.more_tensors = count}.bytes()).starts_with("not a GGUF file, or a truncated one"));
  }
}

TEST(HostileGguf, Metadata) {
  EXPECT_EQ(refusal_of_pair(pair("k", 13, "")), "unknown type of metadata: 'k' of F: got 13, expected 0 to 12");
  EXPECT_EQ(refusal_of_pair(pair("k", 7, "\2")), "bad bool: 'k' of F: got 2, expected 0 or 1");
  EXPECT_TRUE(refusal_of_pair(pair("", 4, little_endian(1u))).starts_with("bad key: metadata 0 of F"));
  EXPECT_TRUE(refusal_of_pair(pair("\xff", 4, little_endian(1u))).starts_with("bad key: metadata 0 of F"));
  EXPECT_EQ(refusal(Parts{.pairs = {pair("k", 4, little_endian(1u)), pair("k", 4, little_endian(1u))}}.bytes()),
            "duplicate key: 'k' of F: got a second one, expected each key once");
  for (uint64_t length : {uint64_t{200}, uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 7}) {
    EXPECT_TRUE(refusal_of_pair(little_endian(length) + "k").starts_with("not a GGUF file, or a truncated one"));
    EXPECT_TRUE(
        refusal_of_pair(pair("k", 8, little_endian(length))).starts_with("not a GGUF file, or a truncated one: 'k'"));
    for (uint32_t type : {0u, 4u, 8u, 9u, 12u}) {
      std::string array = pair("k", 9, little_endian(type, length));
      EXPECT_TRUE(refusal_of_pair(array).starts_with("array is too long: 'k' of F")) << refusal_of_pair(array);
    }
  }
  std::string nested = little_endian(9u);
  for (int i = 0; i < 1000; ++i) nested += little_endian(uint64_t{1}, 9u);
  EXPECT_EQ(refusal_of_pair(text("k") + little_endian(9u) + nested),
            "arrays are nested too deeply: 'k' of F: got 9, expected 8");
  // Arrays of a byte per element, which take eight times that in memory.
  std::string bytes = little_endian(0u, uint64_t{17} << 20) + std::string(size_t{17} << 20, '\0');
  EXPECT_TRUE(refusal_of_pair(pair("k", 9, bytes)).starts_with("array is too long: 'k' of F: got 17825792 elements"));
}

TEST(HostileGguf, Alignment) {
  for (uint32_t alignment : {0u, 3u, 48u, 1u << 31}) {
    EXPECT_TRUE(refusal_of_pair(pair("general.alignment", 4, little_endian(alignment)))
                    .starts_with(fmt::format("bad alignment: 'general.alignment' of F: got {}", alignment)));
  }
  EXPECT_EQ(refusal_of_pair(pair("general.alignment", 8, text("32"))),
            "bad alignment: 'general.alignment' of F: got a string, expected a power of two up to 65536");
  EXPECT_EQ(refusal_of_tensor(tensor("a", {4}, 0, 16)),
            "misaligned tensor: tensor 'a' of F: got offset 16, expected a multiple of 32");
}

TEST(HostileGguf, Tensors) {
  EXPECT_TRUE(refusal_of_tensor(tensor("", {4}, 0, 0)).starts_with("bad name of a tensor: tensor 0 of F"));
  EXPECT_EQ(refusal_of_tensor(tensor("a", {1, 1, 1, 1, 1}, 0, 0)),
            "too many dimensions: tensor 'a' of F: got 5, expected at most 4");
  EXPECT_EQ(refusal_of_tensor(tensor("a", {256}, 12, 0)),
            "unsupported type of tensor: tensor 'a' of F: got Q4_K, expected F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, "
            "Q5_0, Q5_1 or an integer type");
  EXPECT_TRUE(refusal_of_tensor(tensor("a", {32}, 4, 0))
                  .starts_with("unsupported type of tensor: tensor 'a' of F: got "
                               "type 4"));
  EXPECT_EQ(refusal_of_tensor(tensor("a", {16, 2}, 8, 0)),
            "bad shape of a quantized tensor: tensor 'a' of F: got [2, 16], expected rows of a multiple of 32");
  EXPECT_EQ(refusal_of_tensor(tensor("a", {UINT64_MAX}, 0, 0)),
            "size is too large: tensor 'a' of F: got 18446744073709551615, expected less than 2^63");
  // Also where a size of 0, before or behind them, makes the tensor empty.
  constexpr uint64_t kHuge = uint64_t{1} << 32;
  for (const std::vector<uint64_t>& sizes : {std::vector<uint64_t>{kHuge, kHuge},
                                             {uint64_t{1} << 61, 3},
                                             {uint64_t{1} << 62},
                                             {kHuge, kHuge, 0},
                                             {kHuge, 0, kHuge},
                                             {0, kHuge, kHuge},
                                             {kHuge, 0, kHuge, kHuge}}) {
    EXPECT_TRUE(refusal_of_tensor(tensor("a", sizes, 0, 0)).starts_with("shape is too large: tensor 'a' of F"));
  }
  EXPECT_EQ(
      refusal_of_tensor(tensor("a", {17}, 0, 0)),
      "tensor lies outside of the file: tensor 'a' of F: got 68 bytes at 0, expected within its 64 bytes of data; "
      "was the file cut off?");
  for (uint64_t offset : {uint64_t{96}, uint64_t{1} << 62, UINT64_MAX - 31}) {
    EXPECT_TRUE(refusal_of_tensor(tensor("a", {4}, 0, offset)).starts_with("tensor lies outside of the file"));
  }
  EXPECT_EQ(refusal(Parts{.tensors = {tensor("a", {9}, 0, 0), tensor("b", {4}, 0, 32)}}.bytes()),
            "tensors overlap: tensor 'b' of F: got offset 32, expected 36 or more");
  EXPECT_EQ(refusal(Parts{.tensors = {tensor("a", {4}, 0, 32), tensor("b", {4}, 0, 32)}}.bytes()),
            "tensors overlap: tensor 'b' of F: got offset 32, expected 48 or more");
  EXPECT_EQ(refusal(Parts{.tensors = {tensor("a", {4}, 0, 0), tensor("a", {4}, 0, 32)}}.bytes()),
            "duplicate tensor: tensor 'a' of F: got a second one, expected each name once");
}

TEST(HostileGguf, ThousandsOfMutations) {
  std::string whole = good().bytes();
  size_t header = whole.size() - 100;
  Rng rng(22, 0);
  auto next = [&](int) {
    std::string bytes = whole;
    for (uint32_t edits = 1 + rng.below(3); edits-- > 0;) {
      size_t at = rng.below(static_cast<uint32_t>(header));
      constexpr std::string_view kTelling("\0\1\2\x08\x09\x20\x7f\xff", 8);
      bytes[at] = rng.below(2) ? kTelling[rng.below(8)] : static_cast<char>(rng.next());
    }
    return bytes;
  };
  auto read = [](const std::filesystem::path& path) {
    GgufFile file = GgufFile::open(path);
    ASSERT_GE(touch(file), 0);
  };
  auto [accepted, refused] = read_hostile_files(6000, next, read);
  EXPECT_GT(accepted, 200);
  EXPECT_GT(refused, 3000);
}

}  // namespace
}  // namespace tandem
