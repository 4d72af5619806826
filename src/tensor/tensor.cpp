#include "tensor/tensor.h"

#include <cstring>

#include "base/error.h"
#include "tensor/half.h"

namespace tandem {

double load_element(const Tensor& t, int64_t r, int64_t i) {
  int64_t at = r * t.row_stride + i;
  switch (t.dtype) {
    case DType::f32: return static_cast<const float*>(t.data)[at];
    case DType::bf16: return bf16_to_float(static_cast<const bf16*>(t.data)[at]);
    case DType::f64:
    case DType::bf16_in_f64: return static_cast<const double*>(t.data)[at];
    case DType::i32: return static_cast<const int32_t*>(t.data)[at];
    case DType::i64: return static_cast<double>(static_cast<const int64_t*>(t.data)[at]);
    case DType::u8: return static_cast<const uint8_t*>(t.data)[at];
    case DType::f16: return half_to_float(static_cast<const uint16_t*>(t.data)[at]);
  }
  return 0;
}

void store_element(const Tensor& t, int64_t r, int64_t i, double value) {
  int64_t at = r * t.row_stride + i;
  switch (t.dtype) {
    case DType::f32: static_cast<float*>(t.data)[at] = static_cast<float>(value); return;
    case DType::bf16: static_cast<bf16*>(t.data)[at] = float_to_bf16(static_cast<float>(value)); return;
    case DType::f64: static_cast<double*>(t.data)[at] = value; return;
    case DType::bf16_in_f64: static_cast<double*>(t.data)[at] = round_to_bf16(value); return;
    case DType::i32: static_cast<int32_t*>(t.data)[at] = static_cast<int32_t>(value); return;
    case DType::i64: static_cast<int64_t*>(t.data)[at] = static_cast<int64_t>(value); return;
    case DType::u8: static_cast<uint8_t*>(t.data)[at] = static_cast<uint8_t>(value); return;
    case DType::f16: static_cast<uint16_t*>(t.data)[at] = float_to_half(static_cast<float>(value)); return;
  }
}

void copy_convert(const Tensor& to, const Tensor& from) {
  if (to.rows() != from.rows() || to.row_size() != from.row_size()) {
    throw LogicError({.what = "copy between different shapes", .got = from.shape.text(), .expected = to.shape.text()});
  }
  for (int64_t r = 0; r < to.rows(); ++r) {
    if (to.dtype == from.dtype) {
      auto width = dtype_bytes(to.dtype);
      std::memcpy(static_cast<char*>(to.data) + r * to.row_stride * width,
                  static_cast<const char*>(from.data) + r * from.row_stride * width,
                  static_cast<size_t>(to.row_size() * width));
      continue;
    }
    for (int64_t i = 0; i < to.row_size(); ++i) store_element(to, r, i, load_element(from, r, i));
  }
}

}  // namespace tandem
