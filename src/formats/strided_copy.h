// Elements of foreign files as tensors: the types that files have beyond those of Tensor, and strides of any kind.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace tandem {

enum class StoredType : uint8_t { f32, f64, float16, bfloat16, i64, i32, i16, i8, u8 };

int64_t stored_bytes(StoredType type);
// As which type of Tensor it is read, exactly: float16 as f32, i16 and i8 as i32.
DType read_as(StoredType type);
bool is_converted(StoredType type);

// An offset into a storage, sizes and strides, all in elements and not negative.
struct Strided {
  int64_t offset = 0;
  int rank = 0;
  std::array<int64_t, Shape::kMostDims> sizes{}, strides{};

  // Product of the sizes, which element_count() has found to fit.
  int64_t elements() const;
  // Behind the last element that is read; the offset when there is none. Nothing when 63 bits do not hold it.
  std::optional<uint64_t> end() const;
  // No element is read twice. (Sufficient, and true of all that transposing, slicing and selecting make.)
  bool distinct() const;
  // In the order of the elements in memory, without gaps.
  bool contiguous() const;
};

// The elements in row-major order, converted to read_as(type). `strided` lies within `storage`.
std::vector<std::byte> copy_strided(std::span<const std::byte> storage, StoredType type, const Strided& strided);

}  // namespace tandem
