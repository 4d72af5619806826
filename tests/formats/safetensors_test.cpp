#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/rng.h"
#include "base/temporary_folder.h"
#include "formats/safetensors_bytes.h"
#include "tensor/arena.h"

namespace tandem {
namespace {

using test::message_of;
using test::safetensors_bytes;
using test::TemporaryFolder;

// All bit patterns, NaN with payloads among them.
Tensor random_tensor(Arena& arena, DType dtype, const Shape& shape, Rng& rng) {
  Tensor t = arena.tensor(dtype, shape);
  auto* bytes = static_cast<unsigned char*>(t.data);
  for (int64_t i = 0; i < t.bytes(); ++i) bytes[i] = static_cast<unsigned char>(rng.next());
  return t;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape &&
         (a.bytes() == 0 || std::memcmp(a.data, b.data, static_cast<size_t>(a.bytes())) == 0);
}

TEST(Safetensors, ReadsBackTheSameBits) {
  TemporaryFolder folder;
  Arena arena;
  Rng rng(1, 0);
  std::vector<SafetensorsEntry> entries;
  for (DType dtype : {DType::f32, DType::bf16, DType::f64, DType::i32, DType::i64, DType::u8}) {
    for (const Shape& shape : {Shape{}, Shape{7}, Shape{3, 5}, Shape{2, 3, 4}, Shape{2, 1, 3, 5}, Shape{0, 4}}) {
      std::string name = fmt::format("{}.{}", dtype_name(dtype), shape.text());
      entries.push_back({name, random_tensor(arena, dtype, shape, rng)});
    }
  }
  write_safetensors(folder / "a", entries, {{"step", "12"}, {"note", "\"ü\"\n"}});

  SafetensorsFile file = SafetensorsFile::open(folder / "a");
  EXPECT_EQ(file.names().size(), entries.size());
  for (const SafetensorsEntry& entry : entries) {
    ASSERT_TRUE(file.contains(entry.name));
    EXPECT_TRUE(same_bits(file.tensor(entry.name), entry.tensor)) << entry.name;
  }
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"step", "12"}, {"note", "\"ü\"\n"}}));
}

TEST(Safetensors, TensorsAreViewsThatOutliveAMoveOfTheFile) {
  TemporaryFolder folder;
  float values[] = {1, 2, 3};
  std::vector<SafetensorsEntry> entries{{"x", Tensor(values, DType::f32, {3})}};
  write_safetensors(folder / "a", entries);
  SafetensorsFile file = SafetensorsFile::open(folder / "a");
  Tensor x = file.tensor("x");
  SafetensorsFile moved = std::move(file);
  EXPECT_EQ(moved.tensor("x").data, x.data);
  EXPECT_EQ(x.as<float>()[2], 3.0f);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(x.data) % 8, 0u);
}

TEST(Safetensors, TheBytesDoNotDependOnTheOrder) {
  TemporaryFolder folder;
  float f[] = {1, 2};
  double d[] = {3};
  bf16 b[] = {7, 8, 9};
  std::vector<SafetensorsEntry> entries{{"b", Tensor(b, DType::bf16, {3})},
                                        {"z", Tensor(f, DType::f32, {2})},
                                        {"a", Tensor(f, DType::f32, {1, 2})},
                                        {"d", Tensor(d, DType::f64, {1})}};
  write_safetensors(folder / "1", entries, {{"k", "v"}});
  std::reverse(entries.begin(), entries.end());
  write_safetensors(folder / "2", entries, {{"k", "v"}});
  std::string bytes = read_file(folder / "1");
  EXPECT_EQ(bytes, read_file(folder / "2"));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  EXPECT_EQ(SafetensorsFile::open(folder / "1").names(), (std::vector<std::string>{"d", "a", "z", "b"}));
}

// Written out by hand from the format's description.
TEST(Safetensors, WritesTheFormatAsDescribed) {
  TemporaryFolder folder;
  int32_t values[] = {1, -1};
  std::vector<SafetensorsEntry> entries{{"ids", Tensor(values, DType::i32, {2})}};
  write_safetensors(folder / "a", entries, {{"k", "v"}});
  std::string header = R"({"__metadata__":{"k":"v"},"ids":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(read_file(folder / "a"), safetensors_bytes(header, std::string("\1\0\0\0\xff\xff\xff\xff", 8)));
}

TEST(Safetensors, PacksRowsThatHaveAStride) {
  TemporaryFolder folder;
  float values[] = {0, 1, 2, 3, 4, 5};
  Tensor matrix(values, DType::f32, {2, 3});
  std::vector<SafetensorsEntry> entries{{"x", matrix.slice_columns(1, 3)}};
  write_safetensors(folder / "a", entries);
  SafetensorsFile file = SafetensorsFile::open(folder / "a");
  Tensor x = file.tensor("x");
  EXPECT_EQ(x.shape, (Shape{2, 2}));
  EXPECT_EQ(std::vector<float>(x.as<float>(), x.as<float>() + 4), (std::vector<float>{1, 2, 4, 5}));
}

TEST(Safetensors, AnEmptyFileHasNoTensors) {
  TemporaryFolder folder;
  write_safetensors(folder / "a", {});
  EXPECT_TRUE(SafetensorsFile::open(folder / "a").names().empty());
  write_file_atomically(folder / "b", safetensors_bytes("{}", ""));
  EXPECT_TRUE(SafetensorsFile::open(folder / "b").names().empty());
}

// Other writers leave tensors where their bytes happen to fall.
TEST(Safetensors, CopiesWhatIsNotAligned) {
  TemporaryFolder folder;
  std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]},)"
                       R"("c":{"dtype":"BOOL","shape":[2],"data_offsets":[9,11]}})";
  double value = 0.1;
  std::string data(11, '\1');
  std::memcpy(data.data() + 1, &value, 8);
  write_file_atomically(folder / "a", safetensors_bytes(header, data));
  SafetensorsFile file = SafetensorsFile::open(folder / "a");
  SafetensorsFile moved = std::move(file);
  Tensor b = moved.tensor("b");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data) % 8, 0u);
  EXPECT_EQ(b.as<double>()[0], 0.1);
  EXPECT_EQ(moved.tensor("c").dtype, DType::u8);
}

TEST(Safetensors, NamesAMissingTensor) {
  TemporaryFolder folder;
  write_safetensors(folder / "a", {});
  SafetensorsFile file = SafetensorsFile::open(folder / "a");
  EXPECT_EQ(message_of<InputError>([&] { file.tensor("w"); }),
            "missing tensor: " + (folder / "a").string() + ": expected 'w'; the file has 0 tensors");
}

TEST(Safetensors, RefusesToWriteANameTwice) {
  TemporaryFolder folder;
  float value = 0;
  Tensor t(&value, DType::f32, {1});
  std::vector<SafetensorsEntry> twice{{"x", t}, {"x", t}}, reserved{{"__metadata__", t}};
  EXPECT_THROW(write_safetensors(folder / "a", twice), LogicError);
  EXPECT_THROW(write_safetensors(folder / "a", reserved), LogicError);
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
}

}  // namespace
}  // namespace tandem
