#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"

namespace tandem {
namespace {

using test::message_of;
using test::TemporaryFolder;

// Written by gguf-py (data/make.py).
std::filesystem::path every_type() {
  return std::filesystem::path(TANDEM_SOURCE_DIR) / "tests/formats/data/every_type.gguf";
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape &&
         (a.bytes() == 0 || std::memcmp(a.data, b.data, static_cast<size_t>(a.bytes())) == 0);
}

TEST(Gguf, ReadsEveryTypeOfMetadata) {
  GgufFile file = GgufFile::open(every_type());
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.string("general.architecture"), "llama");
  EXPECT_EQ(file.integer("a.u8"), 255);
  EXPECT_EQ(file.integer("a.i8"), -128);
  EXPECT_EQ(file.integer("a.u16"), 65535);
  EXPECT_EQ(file.integer("a.i16"), -32768);
  EXPECT_EQ(file.integer("a.u32"), 4294967295);
  EXPECT_EQ(file.integer("a.i32"), INT32_MIN);
  EXPECT_EQ(file.integer("a.i64"), INT64_MIN);
  EXPECT_EQ(std::get<uint64_t>(file.metadata().at("a.u64").value), UINT64_MAX);
  EXPECT_EQ(file.number("a.f32"), double{0.1f});
  EXPECT_EQ(file.number("a.f64"), 0.1);
  EXPECT_EQ(file.number("a.u8"), 255.0);
  EXPECT_TRUE(file.boolean("a.bool"));
  EXPECT_EQ(file.string("a.string"), "grüß");
  EXPECT_EQ(file.strings("a.strings"), (std::vector<std::string>{"a", "", "▁b"}));
  EXPECT_EQ(file.integers("a.ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(file.integers("a.bools"), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(file.numbers("a.floats"), (std::vector<double>{0.5, 1.5}));
  const auto& nested =
      std::get<std::vector<GgufArray>>(std::get<GgufArray>(file.metadata().at("a.nested").value).items);
  ASSERT_EQ(nested.size(), 2u);
  EXPECT_EQ(std::get<std::vector<int64_t>>(nested[0].items), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(std::get<std::vector<int64_t>>(nested[1].items), (std::vector<int64_t>{3}));
  EXPECT_FALSE(file.has("absent"));
}

TEST(Gguf, NamesWhatIsMissingOrOfAnotherKind) {
  GgufFile file = GgufFile::open(every_type());
  std::string path = every_type().string();
  auto refusal = [&](auto&& action) { return message_of<InputError>(action); };
  EXPECT_EQ(refusal([&] { file.integer("absent"); }), "missing metadata: " + path + ": expected 'absent'");
  EXPECT_EQ(refusal([&] { file.integer("a.u64"); }),
            "wrong type of metadata: 'a.u64' of " + path + ": got u64, expected an integer below 2^63");
  EXPECT_EQ(refusal([&] { file.integer("a.bool"); }),
            "wrong type of metadata: 'a.bool' of " + path + ": got bool, expected an integer below 2^63");
  EXPECT_EQ(refusal([&] { file.boolean("a.u8"); }),
            "wrong type of metadata: 'a.u8' of " + path + ": got u8, expected bool");
  EXPECT_EQ(refusal([&] { file.strings("a.ints"); }),
            "wrong type of metadata: 'a.ints' of " + path + ": got an array, expected an array of strings");
  EXPECT_TRUE(refusal([&] { file.tensor("absent"); }).starts_with("missing tensor: "));
}

TEST(Gguf, ReadsTensorsAsGgufPyDoes) {
  GgufFile file = GgufFile::open(every_type());
  for (const char* name : {"bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"}) {
    Tensor expected = file.tensor(std::string(name) + ".expected");
    ASSERT_EQ(expected.shape, (Shape{3, 64}));
    Tensor got = file.tensor(name);
    ASSERT_EQ(got.shape, expected.shape);
    if (got.dtype == DType::bf16) {
      for (int64_t i = 0; i < got.elements(); ++i) {
        ASSERT_EQ(bf16_to_float(got.as<bf16>()[i]), expected.as<float>()[i]) << i;
      }
      continue;
    }
    // Numbers, not bits: -0 and 0 are the same.
    for (int64_t i = 0; i < got.elements(); ++i) ASSERT_EQ(got.as<float>()[i], expected.as<float>()[i]) << name << i;
  }
  EXPECT_EQ(file.tensor("double").as<double>()[1], 1e300);
  const float half[] = {0, -0.0f, 1, -2.5f, 65504, 0x1p-24f, -1023 * 0x1p-24f, INFINITY};
  EXPECT_TRUE(same_bits(file.tensor("half"), Tensor(const_cast<float*>(half), DType::f32, {8})));
  EXPECT_EQ(file.tensor("int8").as<int32_t>()[0], -128);
  EXPECT_EQ(file.tensor("int16").as<int32_t>()[1], 32767);
  EXPECT_EQ(file.tensor("int32").as<int32_t>()[0], INT32_MIN);
  EXPECT_EQ(file.tensor("int64").as<int64_t>()[1], INT64_MAX);
  EXPECT_EQ(file.shape("int64"), (Shape{2, 1}));
}

TEST(Gguf, WhatNeedsNoConversionIsAView) {
  GgufFile file = GgufFile::open(every_type());
  const void* x = file.tensor("x").data;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(x) % 32, 0u);
  std::vector<float> before(file.tensor("q8_0").as<float>(), file.tensor("q8_0").as<float>() + 192);
  EXPECT_EQ(file.tensor("q8_0").data, file.tensor("q8_0").data);
  file.release();
  EXPECT_EQ(file.tensor("x").data, x);
  EXPECT_EQ(std::memcmp(file.tensor("q8_0").data, before.data(), 192 * 4), 0);
}

// The blocks that gguf-py made of `x` are those that the writer makes of it.
TEST(Gguf, QuantizesAsGgufPyDoes) {
  TemporaryFolder folder;
  GgufFile file = GgufFile::open(every_type());
  std::vector<GgufEntry> entries;
  for (GgufTensorType type : {GgufTensorType::q8_0, GgufTensorType::q4_0, GgufTensorType::bfloat16}) {
    entries.push_back({{gguf_type_name(type), file.tensor("x")}, type});
  }
  write_gguf(folder / "a", entries, {});
  GgufFile written = GgufFile::open(folder / "a");
  for (auto [ours, theirs] : {std::pair("Q8_0", "q8_0"), std::pair("Q4_0", "q4_0"), std::pair("BF16", "bf16")}) {
    EXPECT_TRUE(same_bits(written.tensor(ours), file.tensor(theirs))) << ours;
  }
}

TEST(Gguf, ReadsWhatItWrites) {
  TemporaryFolder folder;
  GgufFile source = GgufFile::open(every_type());
  std::vector<std::pair<std::string, GgufValue>> metadata(source.metadata().begin(), source.metadata().end());
  metadata.emplace_back("general.alignment", GgufValue::u32(64));
  std::vector<GgufEntry> entries;
  for (const char* name : {"x", "double", "int32", "int64", "bf16"}) {
    entries.push_back({{name, source.tensor(name)}, source.stored_type(name)});
  }
  entries.push_back({{"half", source.tensor("half")}, GgufTensorType::float16});
  entries.push_back({{"columns", source.tensor("x").slice_columns(32, 64)}, GgufTensorType::f32});
  entries.push_back({{"columns16", source.tensor("x").slice_columns(32, 64)}, GgufTensorType::float16});
  entries.push_back({{"vector", source.tensor("x").slice_rows(1, 2).view({64})}, GgufTensorType::q8_0});
  entries.push_back({{"empty", Tensor(source.tensor("x").data, DType::f32, {0, 32})}, GgufTensorType::f32});
  write_gguf(folder / "a", entries, metadata);
  GgufFile file = GgufFile::open(folder / "a");
  std::map<std::string, GgufValue, std::less<>> expected(metadata.begin(), metadata.end());
  EXPECT_EQ(file.metadata(), expected);
  ASSERT_EQ(file.names().size(), entries.size());
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(file.names()[i], entries[i].named.name);
    EXPECT_TRUE(same_bits(file.tensor(file.names()[i]), entries[i].named.tensor)) << file.names()[i];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(file.tensor("x").data) % 64, 0u);
  }
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t c = 0; c < 32; ++c) {
      EXPECT_EQ(file.tensor("columns").row<float>(r)[c], source.tensor("x").row<float>(r)[32 + c]);
      EXPECT_NEAR(file.tensor("columns16").row<float>(r)[c], source.tensor("x").row<float>(r)[32 + c],
                  std::ldexp(std::fabs(source.tensor("x").row<float>(r)[32 + c]), -11) + 0x1p-25);
    }
  }
  EXPECT_EQ(file.shape("vector"), (Shape{64}));
  EXPECT_EQ(std::memcmp(file.tensor("vector").data, source.tensor("q8_0").row<float>(1), 64 * 4), 0);
  EXPECT_EQ(file.tensor("empty").shape, (Shape{0, 32}));
}

TEST(Gguf, RefusesToWriteWhatDoesNotFit) {
  TemporaryFolder folder;
  float x[64] = {1};
  int64_t i[1] = {1};
  auto write = [&](std::vector<GgufEntry> entries, std::vector<std::pair<std::string, GgufValue>> metadata = {}) {
    write_gguf(folder / "a", entries, metadata);
  };
  Tensor matrix(x, DType::f32, {2, 32}), narrow(x, DType::f32, {4, 16}), integers(i, DType::i64, {1});
  EXPECT_THROW(write({{{"a", matrix}}, {{"a", matrix}}}), LogicError);
  EXPECT_THROW(write({{{"a", narrow}, GgufTensorType::q8_0}}), LogicError);
  EXPECT_THROW(write({{{"a", integers}, GgufTensorType::q8_0}}), LogicError);
  EXPECT_THROW(write({{{"a", matrix}, GgufTensorType::q5_0}}), LogicError);
  EXPECT_THROW(write({}, {{"k", GgufValue::u32(1)}, {"k", GgufValue::u32(1)}}), LogicError);
  EXPECT_THROW(write({}, {{"k", {GgufType::u8, int64_t{256}}}}), LogicError);
  EXPECT_THROW(write({}, {{"k", {GgufType::string, int64_t{1}}}}), LogicError);
  for (float bad : {NAN, INFINITY, 1e30f}) {
    x[40] = bad;
    for (GgufTensorType type : {GgufTensorType::q8_0, GgufTensorType::q4_0}) {
      std::string message = message_of<InputError>([&] { write({{{"a", matrix}, type}}); });
      EXPECT_TRUE(message.starts_with("tensor cannot be quantized: tensor 'a'")) << message;
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace tandem
