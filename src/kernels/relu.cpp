#include "kernels/relu.h"

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/relu.h"

namespace tandem::kernels {
namespace {

void* at(const Tensor& t, int64_t row, int64_t i) {
  return static_cast<char*>(t.data) + (row * t.row_stride + i) * dtype_bytes(t.dtype);
}

}  // namespace

void relu_forward(Context& ctx, const Tensor& y, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "relu", static_cast<double>(x.elements()), bytes_of(x, y));
  if (is_reference(x.dtype)) return ref::relu_forward(y, x);
  for_runs(ctx, x, x.contiguous() && y.contiguous(), kChunkElements, [&](int64_t t, int64_t i, int64_t n) {
    ctx.cpu().relu.forward(at(y, t, i), at(x, t, i), x.dtype == DType::bf16, n);
  });
}

void relu_backward(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& y) {
  ProfileScope scope(ctx.profiler(), "relu", static_cast<double>(y.elements()), bytes_of(y, dy, dx));
  if (is_reference(y.dtype)) return ref::relu_backward(dx, dy, y);
  bool contiguous = y.contiguous() && dy.contiguous() && dx.contiguous();
  for_runs(ctx, y, contiguous, kChunkElements, [&](int64_t t, int64_t i, int64_t n) {
    ctx.cpu().relu.backward(at(dx, t, i), at(dy, t, i), at(y, t, i), y.dtype == DType::bf16, n);
  });
}

}  // namespace tandem::kernels
