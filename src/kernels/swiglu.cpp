#include "kernels/swiglu.h"

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/swiglu.h"

namespace tandem::kernels {
namespace {

// An exponential and a division per element, as in GELU.
constexpr int64_t kChunk = 4096;

int64_t rows_per_chunk(int64_t n) { return std::max<int64_t>(1, kChunk / std::max<int64_t>(n, 1)); }

}  // namespace

void swiglu_forward(Context& ctx, const Tensor& y, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "swiglu", 20.0 * static_cast<double>(y.elements()), bytes_of(x, y));
  if (is_reference(x.dtype)) return ref::swiglu_forward(y, x);
  int64_t n = y.row_size();
  for_ranges(ctx, y.rows(), rows_per_chunk(n), [&](Range rows) {
    ctx.cpu().swiglu.forward(matrix(y, rows.begin), matrix(x, rows.begin), rows.size(), n);
  });
}

void swiglu_backward(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "swiglu", 26.0 * static_cast<double>(dy.elements()), bytes_of(x, dy, dx));
  if (is_reference(x.dtype)) return ref::swiglu_backward(dx, dy, x);
  int64_t n = dy.row_size();
  for_ranges(ctx, dy.rows(), rows_per_chunk(n), [&](Range rows) {
    ctx.cpu().swiglu.backward(matrix(dx, rows.begin), matrix(dy, rows.begin), matrix(x, rows.begin), rows.size(), n);
  });
}

}  // namespace tandem::kernels
