#include "kernels/elementwise.h"

#include "base/error.h"
#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/ref/elementwise.h"

namespace tandem::kernels {
namespace {

// Calls run(row, first element, count) for pieces of y: whole rows where a tensor has a row stride of its own, else
// runs of elements counted from the start.
template <class Run>
void for_runs(Context& ctx, const Tensor& y, bool contiguous, const Run& run) {
  if (contiguous) {
    for_ranges(ctx, y.elements(), kChunkElements, [&](Range r) { run(0, r.begin, r.size()); });
    return;
  }
  for_ranges(ctx, y.rows(), chunk_rows(y.row_size()), [&](Range r) {
    for (int64_t t = r.begin; t < r.end; ++t) run(t, 0, y.row_size());
  });
}

template <class... Operands>
double bytes(const Operands&... operands) {
  return static_cast<double>((operands.bytes() + ...));
}

}  // namespace

void add(Context& ctx, const Tensor& y, const Tensor& a, const Tensor& b) {
  ProfileScope scope(ctx.profiler(), "add", static_cast<double>(y.elements()), bytes(y, a, b));
  if (is_reference(y.dtype)) return ref::add(y, a, b);
  auto kernel = ctx.cpu().elementwise.add;
  for_runs(ctx, y, y.contiguous() && a.contiguous() && b.contiguous(), [&](int64_t t, int64_t i, int64_t n) {
    kernel(y.row<float>(t) + i, a.row<float>(t) + i, b.row<float>(t) + i, n);
  });
}

void accumulate(Context& ctx, const Tensor& y, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "add", static_cast<double>(y.elements()), bytes(y, y, x));
  if (is_reference(y.dtype) || is_reference(x.dtype)) return ref::accumulate(y, x);
  const cpu::ElementwiseKernels& kernels = ctx.cpu().elementwise;
  for_runs(ctx, y, y.contiguous() && x.contiguous(), [&](int64_t t, int64_t i, int64_t n) {
    if (x.dtype == DType::bf16) {
      kernels.accumulate_bf16(y.row<float>(t) + i, x.row<bf16>(t) + i, n);
    } else {
      kernels.accumulate_f32(y.row<float>(t) + i, x.row<float>(t) + i, n);
    }
  });
}

void convert(Context& ctx, const Tensor& y, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "convert", 0, bytes(y, x));
  if (is_reference(y.dtype) || is_reference(x.dtype)) return ref::convert(y, x);
  if (y.dtype == x.dtype) return copy_convert(y, x);
  const cpu::ElementwiseKernels& kernels = ctx.cpu().elementwise;
  for_runs(ctx, y, y.contiguous() && x.contiguous(), [&](int64_t t, int64_t i, int64_t n) {
    if (y.dtype == DType::bf16) {
      kernels.to_bf16(y.row<bf16>(t) + i, x.row<float>(t) + i, n);
    } else {
      kernels.to_f32(y.row<float>(t) + i, x.row<bf16>(t) + i, n);
    }
  });
}

}  // namespace tandem::kernels
