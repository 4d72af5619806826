// GGUF, the format of llama.cpp: metadata (key, type, value), the tensors' names, shapes, types and offsets, padding,
// then their bytes, each tensor at a multiple of `general.alignment`
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian). Readers trust nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "formats/named_tensor.h"
#include "tensor/tensor.h"

namespace tandem {

// Types of metadata, by the format's numbers.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

struct GgufValue;

// Elements of one type, in the alternative that it is stored in: integers of any width and bools as int64_t or, u64
// alone, uint64_t; f32 and f64 as double; strings; arrays.
struct GgufArray {
  GgufType type = GgufType::u8;
  std::variant<std::vector<int64_t>, std::vector<uint64_t>, std::vector<double>, std::vector<std::string>,
               std::vector<GgufArray>>
      items;
  bool operator==(const GgufArray&) const = default;
};

struct GgufValue {
  GgufType type = GgufType::u32;
  std::variant<int64_t, uint64_t, double, std::string, GgufArray> value;  // as in GgufArray; bool: 0 or 1

  static GgufValue u32(uint32_t x) { return {GgufType::u32, int64_t{x}}; }
  static GgufValue f32(float x) { return {GgufType::f32, double{x}}; }
  static GgufValue boolean(bool x) { return {GgufType::boolean, int64_t{x}}; }
  static GgufValue string(std::string x) { return {GgufType::string, std::move(x)}; }
  static GgufValue strings(std::vector<std::string> x) {
    return {GgufType::array, GgufArray{GgufType::string, std::move(x)}};
  }
  static GgufValue f32s(std::vector<double> x) { return {GgufType::array, GgufArray{GgufType::f32, std::move(x)}}; }
  static GgufValue i32s(std::vector<int64_t> x) { return {GgufType::array, GgufArray{GgufType::i32, std::move(x)}}; }
  bool operator==(const GgufValue&) const = default;
};

// Types of tensors, by the format's numbers; those that can be read.
enum class GgufTensorType : uint32_t {
  f32 = 0,
  float16 = 1,
  q4_0 = 2,  // blocks of 32: one scale d, 4-bit q; (q - 8) d
  q4_1 = 3,  // and one offset m; q d + m
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,  // blocks of 32: one scale d, 8-bit q; q d
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  bfloat16 = 30,
};

// "Q8_0"
const char* gguf_type_name(GgufTensorType type);

// An open file.
class GgufFile {
 public:
  // InputError naming file, key or tensor, got and expected when the file is missing, truncated, not well-formed
  // (duplicate keys or names, overlapping or misaligned tensors, offsets or counts beyond the file), of another version
  // or byte order, or holds a type that is not in GgufTensorType, which the message names.
  static GgufFile open(const std::filesystem::path& path);
  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  const std::filesystem::path& path() const;
  uint32_t version() const;
  // In the order of the file.
  const std::vector<std::string>& names() const;
  bool contains(std::string_view name) const;
  GgufTensorType stored_type(std::string_view name) const;
  // What tensor() will return, at no cost: bf16 and the types that Tensor has as they are, int8 and int16 as int32,
  // float16 and quantized types as float32. The shape is row-major, [rows, columns] for a matrix: the format lists the
  // columns first.
  DType dtype(std::string_view name) const;
  Shape shape(std::string_view name) const;
  // A view into the memory map where the bytes need no conversion; otherwise a copy, made now and kept until release().
  // Valid while the object lives; never to be written to. Not to be called by several threads at once. InputError when
  // the file has no tensor of this name.
  Tensor tensor(std::string_view name);
  // Frees the copies: tensors handed out before are no longer valid.
  void release();

  const std::map<std::string, GgufValue, std::less<>>& metadata() const;
  // Metadata by kind. InputError naming the key when it is missing or of another kind. Integers of all widths are one
  // kind, and so are both floating-point types.
  bool has(std::string_view key) const;
  int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;  // of integers too
  bool boolean(std::string_view key) const;
  const std::string& string(std::string_view key) const;
  const std::vector<std::string>& strings(std::string_view key) const;
  const std::vector<int64_t>& integers(std::string_view key) const;
  const std::vector<double>& numbers(std::string_view key) const;

 private:
  struct Content;
  explicit GgufFile(std::unique_ptr<Content> content);

  std::unique_ptr<Content> content_;
};

struct GgufEntry {
  NamedTensor named;  // of f32, bf16, f64 or bf16_in_f64 for f32, float16, bfloat16, q8_0 and q4_0
  GgufTensorType stored = GgufTensorType::f32;
};

// Writes version 3, atomically (base/file.h), tensor by tensor, in the order given; alignment 32 unless `metadata` has
// `general.alignment`. f16 and bf16 round to nearest, ties to even; q8_0 and q4_0 are those of llama.cpp's reference
// (scale from the largest magnitude of 32), which need rows of a multiple of 32. LogicError on duplicate names, or a
// type that cannot be written or does not fit the tensor; JobError when the disk refuses.
void write_gguf(const std::filesystem::path& path, std::span<const GgufEntry> entries,
                const std::vector<std::pair<std::string, GgufValue>>& metadata);

}  // namespace tandem
