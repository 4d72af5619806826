// Bytes from strangers: each ends in one InputError or in tensors that lie within the file.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/rng.h"
#include "base/temporary_folder.h"
#include "formats/hostile_files.h"
#include "formats/safetensors.h"
#include "formats/safetensors_bytes.h"

namespace tandem {
namespace {

using test::message_of;
using test::safetensors_bytes;
using test::TemporaryFolder;

std::string refusal(const std::string& bytes) {
  TemporaryFolder folder;
  test::put_file(folder / "f", bytes);
  std::string message = message_of<InputError>([&] { SafetensorsFile::open(folder / "f"); });
  size_t at = message.find((folder / "f").string());
  EXPECT_NE(at, std::string::npos) << "does not name the file: " << message;
  return at == std::string::npos ? message : message.replace(at, (folder / "f").string().size(), "F");
}

// One tensor "w" with these fields, over `data` bytes of data.
std::string refusal_of_tensor(const std::string& fields, size_t data) {
  return refusal(safetensors_bytes("{\"w\":{" + fields + "}}", std::string(data, 'x')));
}

TEST(HostileSafetensors, TruncatedFiles) {
  EXPECT_EQ(refusal(""),
            "not a safetensors file, or a truncated one: F: got 0 bytes, expected 8 bytes of header "
            "length, a header and data");
  EXPECT_TRUE(refusal("1234567").starts_with("not a safetensors file"));
  std::string whole = safetensors_bytes(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678");
  for (size_t length = 0; length < whole.size(); ++length) EXPECT_FALSE(refusal(whole.substr(0, length)).empty());
}

TEST(HostileSafetensors, HeaderLengthBeyondTheFile) {
  std::string bytes = safetensors_bytes("{}", "");
  for (uint64_t length : {uint64_t{3}, uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 7}) {
    std::memcpy(bytes.data(), &length, 8);
    EXPECT_EQ(
        refusal(bytes),
        fmt::format("not a safetensors file, or a truncated one: F: got a header length of {}, expected at most 2",
                    length));
  }
}

TEST(HostileSafetensors, HeaderThatIsNotAnObjectOfObjects) {
  EXPECT_TRUE(refusal(safetensors_bytes("", "")).starts_with("not a safetensors file"));
  EXPECT_TRUE(refusal(safetensors_bytes("[1]", "")).starts_with("not a safetensors file"));
  EXPECT_TRUE(refusal(safetensors_bytes(" {}", "")).starts_with("not a safetensors file"));
  EXPECT_TRUE(refusal(safetensors_bytes("{\"w\":", "")).starts_with("cannot parse JSON: F (header)"));
  EXPECT_TRUE(refusal(safetensors_bytes("{}x", "")).starts_with("cannot parse JSON"));
  EXPECT_TRUE(refusal(safetensors_bytes(std::string("{}\0", 3), "")).starts_with("cannot parse JSON"));
  EXPECT_TRUE(refusal(safetensors_bytes("{\"\xff\":1}", "")).starts_with("cannot parse JSON"));
  EXPECT_TRUE(refusal(safetensors_bytes("{\"w\":3}", "")).starts_with("wrong type of 'dtype': tensor 'w' of F"));
  EXPECT_TRUE(refusal(safetensors_bytes("{\"__metadata__\":[]}", "")).starts_with("bad '__metadata__'"));
  EXPECT_TRUE(refusal(safetensors_bytes("{\"__metadata__\":{\"a\":1}}", "")).starts_with("bad '__metadata__'"));
  std::string deep = "{\"w\":" + std::string(100'000, '[');
  EXPECT_TRUE(refusal(safetensors_bytes(deep, "")).starts_with("JSON is nested too deeply"));
}

TEST(HostileSafetensors, DuplicateNames) {
  std::string w = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_TRUE(refusal(safetensors_bytes("{" + w + "," + w + "}", "x")).starts_with("duplicate key in JSON"));
}

TEST(HostileSafetensors, MissingOrWrongFields) {
  EXPECT_EQ(refusal_of_tensor(R"("shape":[1],"data_offsets":[0,4])", 4),
            "missing key in JSON: tensor 'w' of F: expected 'dtype'");
  EXPECT_EQ(refusal_of_tensor(R"("dtype":"F32","data_offsets":[0,4])", 4),
            "missing key in JSON: tensor 'w' of F: expected 'shape'");
  EXPECT_EQ(refusal_of_tensor(R"("dtype":"F32","shape":[1])", 4),
            "missing key in JSON: tensor 'w' of F: expected 'data_offsets'");
  EXPECT_EQ(refusal_of_tensor(R"("dtype":"F7","shape":[1],"data_offsets":[0,4])", 4),
            "unsupported element type: tensor 'w' of F: got 'F7', expected F32, BF16, F16, F64, I32, I64, U8 or BOOL");
  for (const char* shape :
       {"3", "{}", "null", "[-1]", "[1.0]", "[\"1\"]", "[true]", "[[1]]", "[18446744073709551615]"}) {
    std::string message = refusal_of_tensor(fmt::format(R"("dtype":"U8","shape":{},"data_offsets":[0,1])", shape), 1);
    EXPECT_TRUE(message.starts_with("bad 'shape': tensor 'w' of F")) << message;
  }
  for (const char* offsets :
       {"0", "[0]", "[0,1,2]", "[1,0]", "[0,2]", "[-1,1]", "[0.0,1]", "[0,9223372036854775807]"}) {
    std::string message = refusal_of_tensor(fmt::format(R"("dtype":"U8","shape":[1],"data_offsets":{})", offsets), 1);
    EXPECT_TRUE(message.starts_with("bad 'data_offsets': tensor 'w' of F")) << message;
  }
}

TEST(HostileSafetensors, ShapesThatDoNotFit) {
  EXPECT_EQ(refusal_of_tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", 8),
            "offsets do not match the shape: tensor 'w' of F: got 8 bytes, expected 12 bytes for F32 [3]");
  EXPECT_EQ(refusal_of_tensor(R"("dtype":"U8","shape":[1,1,1,1,1],"data_offsets":[0,1])", 1),
            "too many dimensions: tensor 'w' of F: got 5, expected at most 4");
  // Products that wrap around to 4, 0 and 8 bytes in 64 bits.
  for (const char* shape : {"[4611686018427387905]", "[4294967296,4294967296]", "[2305843009213693954,4]",
                            "[9223372036854775807,9223372036854775807]"}) {
    std::string message = refusal_of_tensor(fmt::format(R"("dtype":"F32","shape":{},"data_offsets":[0,4])", shape), 4);
    EXPECT_TRUE(message.starts_with("shape is too large: tensor 'w' of F")) << message;
  }
  // A zero makes the tensor empty; products of the other sizes must fit all the same.
  for (const char* shape : {"[9223372036854775807,0]", "[1099511627776,1099511627776,0]",
                            "[0,1099511627776,1099511627776]", "[1099511627776,0,1099511627776]"}) {
    std::string message = refusal_of_tensor(fmt::format(R"("dtype":"F32","shape":{},"data_offsets":[0,0])", shape), 4);
    EXPECT_TRUE(message.starts_with("shape is too large: tensor 'w' of F")) << message;
  }
  TemporaryFolder folder;
  test::put_file(folder / "f", safetensors_bytes(R"({"w":{"dtype":"F32","shape":[1099511627776,0,1024],)"
                                                 R"("data_offsets":[0,0]}})",
                                                 ""));
  SafetensorsFile file = SafetensorsFile::open(folder / "f");
  EXPECT_EQ(file.tensor("w").elements(), 0);
}

TEST(HostileSafetensors, OverlapsAndGaps) {
  auto two = [](const char* first, const char* second, size_t data) {
    std::string header = fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},)"
                                     R"("b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                                     first, second);
    return refusal(safetensors_bytes(header, std::string(data, 'x')));
  };
  EXPECT_EQ(two("[0,4]", "[2,6]", 6), "tensors overlap: tensor 'b' of F: got begin 2, expected begin 4");
  EXPECT_EQ(two("[0,4]", "[0,4]", 4), "tensors overlap: tensor 'b' of F: got begin 0, expected begin 4");
  EXPECT_EQ(two("[5,9]", "[0,4]", 9), "bytes that belong to no tensor: tensor 'a' of F: got begin 5, expected begin 4");
  EXPECT_EQ(two("[1,5]", "[5,9]", 9), "bytes that belong to no tensor: tensor 'a' of F: got begin 1, expected begin 0");
  EXPECT_EQ(two("[0,4]", "[4,8]", 9), "bytes that belong to no tensor: F: got 9 bytes of data, expected 8");
}

// Reads every byte that the file's tensors claim to have; a sanitizer sees any that is not there.
int64_t touch(const SafetensorsFile& file) {
  int64_t sum = 0;
  for (const std::string& name : file.names()) {
    Tensor t = file.tensor(name);
    const auto* bytes = static_cast<const unsigned char*>(t.data);
    for (int64_t i = 0; i < t.bytes(); ++i) sum += bytes[i];
  }
  return sum;
}

// Changes a few bytes: in the data, where that does no harm, or in the header.
std::string mutated(std::string bytes, size_t header, Rng& rng) {
  constexpr std::string_view kTelling = "0123456789-,:[]{}\"eE. \\u\xff\0F8";
  auto edits = 1 + rng.below(3);
  for (uint32_t i = 0; i < edits && !bytes.empty(); ++i) {
    char value = rng.below(2) ? kTelling[rng.below(kTelling.size())] : static_cast<char>(rng.next());
    if (bytes.size() > header && rng.below(4) == 0) {
      bytes[header + rng.below(static_cast<uint32_t>(bytes.size() - header))] = value;
      continue;
    }
    size_t at = rng.below(static_cast<uint32_t>(std::min(bytes.size(), header)));
    switch (rng.below(5)) {
      case 0: bytes.erase(at, 1 + rng.below(9)); break;
      case 1: bytes.insert(at, 1 + rng.below(3), value); break;
      case 2: bytes.insert(at, bytes.substr(at, 1 + rng.below(40))); break;
      case 3: bytes.resize(at); break;
      default: bytes[at] = value;
    }
  }
  return bytes;
}

TEST(HostileSafetensors, ThousandsOfMutations) {
  std::string header = R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                       R"("b":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]},)"
                       R"("c":{"dtype":"I64","shape":[1,1],"data_offsets":[34,42]}})";
  std::string whole = safetensors_bytes(header, std::string(42, '\7'));
  Rng rng(20, 0);
  auto next = [&](int) { return mutated(whole, 8 + header.size(), rng); };
  auto read = [](const std::filesystem::path& path) {
    SafetensorsFile file = SafetensorsFile::open(path);
    ASSERT_GE(touch(file), 0);
  };
  auto [accepted, refused] = test::read_hostile_files(6000, next, read);
  // Names, metadata and weights may change without harm; both outcomes must have been tried often.
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 3000);
}

}  // namespace
}  // namespace tandem
