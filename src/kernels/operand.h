// Tensors as the operands of kernels/cpu.
#pragma once

#include "kernels/cpu/matrix.h"
#include "tensor/tensor.h"

namespace tandem::kernels {

// Rows from `row` on.
inline cpu::Matrix matrix(const Tensor& t, int64_t row = 0) {
  return {static_cast<char*>(t.data) + row * t.row_stride * dtype_bytes(t.dtype), t.row_stride, t.dtype == DType::bf16};
}

template <class... Tensors>
double bytes_of(const Tensors&... tensors) {
  return static_cast<double>((tensors.bytes() + ...));
}

}  // namespace tandem::kernels
