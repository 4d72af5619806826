#include "kernels/elementwise.h"

#include "base/error.h"
#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/elementwise.h"

namespace tandem::kernels {
void add(Context& ctx, const Tensor& y, const Tensor& a, const Tensor& b) {
  ProfileScope scope(ctx.profiler(), "add", static_cast<double>(y.elements()), bytes_of(y, a, b));
  if (is_reference(y.dtype)) return ref::add(y, a, b);
  auto kernel = ctx.cpu().elementwise.add;
  for_runs(ctx, y, y.contiguous() && a.contiguous() && b.contiguous(), kChunkElements,
           [&](int64_t t, int64_t i, int64_t n) {
             kernel(y.row<float>(t) + i, a.row<float>(t) + i, b.row<float>(t) + i, n);
           });
}

void accumulate(Context& ctx, const Tensor& y, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "add", static_cast<double>(y.elements()), bytes_of(y, y, x));
  if (is_reference(y.dtype) || is_reference(x.dtype)) return ref::accumulate(y, x);
  const cpu::ElementwiseKernels& kernels = ctx.cpu().elementwise;
  for_runs(ctx, y, y.contiguous() && x.contiguous(), kChunkElements, [&](int64_t t, int64_t i, int64_t n) {
    if (x.dtype == DType::bf16) {
      kernels.accumulate_bf16(y.row<float>(t) + i, x.row<bf16>(t) + i, n);
    } else {
      kernels.accumulate_f32(y.row<float>(t) + i, x.row<float>(t) + i, n);
    }
  });
}

void scale(Context& ctx, const Tensor& y, const Tensor& x, double factor) {
  ProfileScope scope(ctx.profiler(), "scale", static_cast<double>(y.elements()), bytes_of(y, x));
  if (is_reference(y.dtype)) return ref::scale(y, x, factor);
  auto kernel = ctx.cpu().elementwise.scale;
  for_runs(ctx, y, y.contiguous() && x.contiguous(), kChunkElements, [&](int64_t t, int64_t i, int64_t n) {
    kernel(y.row<float>(t) + i, x.row<float>(t) + i, static_cast<float>(factor), n);
  });
}

void convert(Context& ctx, const Tensor& y, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "convert", 0, bytes_of(y, x));
  if (is_reference(y.dtype) || is_reference(x.dtype)) return ref::convert(y, x);
  if (y.dtype == x.dtype) return copy_convert(y, x);
  const cpu::ElementwiseKernels& kernels = ctx.cpu().elementwise;
  for_runs(ctx, y, y.contiguous() && x.contiguous(), kChunkElements, [&](int64_t t, int64_t i, int64_t n) {
    if (y.dtype == DType::bf16) {
      kernels.to_bf16(y.row<bf16>(t) + i, x.row<float>(t) + i, n);
    } else {
      kernels.to_f32(y.row<float>(t) + i, x.row<bf16>(t) + i, n);
    }
  });
}

}  // namespace tandem::kernels
