#include "formats/strided_copy.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tensor/half.h"

namespace tandem {
namespace {

// Calls visit(source element) for all elements in row-major order.
template <class Visit>
void for_each(const Strided& s, Visit&& visit) {
  std::array<int64_t, Shape::kMostDims> sizes, strides;  // leading dimensions of one element
  sizes.fill(1);
  strides.fill(0);
  for (int i = 0; i < s.rank; ++i) {
    auto from = static_cast<size_t>(i), to = from + static_cast<size_t>(Shape::kMostDims - s.rank);
    sizes[to] = s.sizes[from];
    strides[to] = s.strides[from];
  }
  if (s.elements() == 0) return;
  static_assert(Shape::kMostDims == 4);
  for (int64_t a = 0; a < sizes[0]; ++a) {
    for (int64_t b = 0; b < sizes[1]; ++b) {
      for (int64_t c = 0; c < sizes[2]; ++c) {
        int64_t at = s.offset + a * strides[0] + b * strides[1] + c * strides[2];
        for (int64_t d = 0; d < sizes[3]; ++d) visit(at + d * strides[3]);
      }
    }
  }
}

template <class From, class To, class Convert>
void gather(std::byte* to, const std::byte* storage, const Strided& s, Convert&& convert) {
  std::byte* next = to;
  for_each(s, [&](int64_t at) {
    From from;
    std::memcpy(&from, storage + at * static_cast<int64_t>(sizeof from), sizeof from);
    To value = convert(from);
    std::memcpy(next, &value, sizeof value);
    next += sizeof value;
  });
}

template <class T>
void gather_same(std::byte* to, const std::byte* storage, const Strided& s) {
  gather<T, T>(to, storage, s, [](T x) { return x; });
}

}  // namespace

int64_t stored_bytes(StoredType type) {
  switch (type) {
    case StoredType::f64:
    case StoredType::i64: return 8;
    case StoredType::f32:
    case StoredType::i32: return 4;
    case StoredType::float16:
    case StoredType::bfloat16:
    case StoredType::i16: return 2;
    case StoredType::i8:
    case StoredType::u8: return 1;
  }
  return 0;
}

DType read_as(StoredType type) {
  switch (type) {
    case StoredType::f32:
    case StoredType::float16: return DType::f32;
    case StoredType::f64: return DType::f64;
    case StoredType::bfloat16: return DType::bf16;
    case StoredType::i64: return DType::i64;
    case StoredType::i32:
    case StoredType::i16:
    case StoredType::i8: return DType::i32;
    case StoredType::u8: return DType::u8;
  }
  return DType::f32;
}

bool is_converted(StoredType type) {
  return type == StoredType::float16 || type == StoredType::i16 || type == StoredType::i8;
}

int64_t Strided::elements() const {
  int64_t n = 1;
  for (int i = 0; i < rank; ++i) n *= sizes[static_cast<size_t>(i)];
  return n;
}

std::optional<uint64_t> Strided::end() const {
  int64_t last = offset;
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i) {
    if (sizes[i] == 0) return static_cast<uint64_t>(offset);
  }
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i) {
    int64_t reach;
    if (__builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) || __builtin_add_overflow(last, reach, &last)) {
      return std::nullopt;
    }
  }
  return static_cast<uint64_t>(last) + 1;
}

bool Strided::distinct() const {
  std::array<std::pair<int64_t, int64_t>, Shape::kMostDims> dims;  // stride, size
  dims.fill({0, 1});
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i) {
    if (sizes[i] == 0) return true;
    dims[i] = {strides[i], sizes[i]};
  }
  std::sort(dims.begin(), dims.end());
  int64_t reach = 0;  // within the dimensions of smaller strides; end() has shown that it fits
  for (auto [stride, size] : dims) {
    if (size == 1) continue;
    if (stride <= reach) return false;
    reach += (size - 1) * stride;
  }
  return true;
}

bool Strided::contiguous() const {
  if (elements() == 0) return true;
  int64_t expected = 1;
  for (int i = rank - 1; i >= 0; --i) {
    auto at = static_cast<size_t>(i);
    if (sizes[at] > 1 && strides[at] != expected) return false;
    expected *= sizes[at];
  }
  return true;
}

std::vector<std::byte> copy_strided(std::span<const std::byte> storage, StoredType type, const Strided& strided) {
  std::vector<std::byte> out(static_cast<size_t>(strided.elements() * dtype_bytes(read_as(type))));
  switch (type) {
    case StoredType::float16: gather<uint16_t, float>(out.data(), storage.data(), strided, half_to_float); break;
    case StoredType::i16:
      gather<int16_t, int32_t>(out.data(), storage.data(), strided, [](int16_t x) { return int32_t{x}; });
      break;
    case StoredType::i8:
      gather<int8_t, int32_t>(out.data(), storage.data(), strided, [](int8_t x) { return int32_t{x}; });
      break;
    case StoredType::f64:
    case StoredType::i64: gather_same<uint64_t>(out.data(), storage.data(), strided); break;
    case StoredType::f32:
    case StoredType::i32: gather_same<uint32_t>(out.data(), storage.data(), strided); break;
    case StoredType::bfloat16: gather_same<uint16_t>(out.data(), storage.data(), strided); break;
    case StoredType::u8: gather_same<uint8_t>(out.data(), storage.data(), strided); break;
  }
  return out;
}

}  // namespace tandem
