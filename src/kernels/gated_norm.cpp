#include "kernels/gated_norm.h"

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/gated_norm.h"

namespace tandem::kernels {
namespace {

// An exponential and a division per element, as in GELU.
constexpr int64_t kChunk = 4096;

int64_t rows_per_chunk(int64_t n) { return std::max<int64_t>(1, kChunk / std::max<int64_t>(n, 1)); }

}  // namespace

void gated_norm_forward(Context& ctx, const Tensor& y, const Tensor& o, const Tensor& g, double eps) {
  ProfileScope scope(ctx.profiler(), "gated_norm", 24.0 * static_cast<double>(y.elements()), bytes_of(y, o, g));
  if (is_reference(o.dtype)) return ref::gated_norm_forward(y, o, g, eps);
  for_ranges(ctx, y.rows(), rows_per_chunk(y.row_size()), [&](Range rows) {
    ctx.cpu().gated_norm.forward(matrix(y, rows.begin), matrix(o, rows.begin), matrix(g, rows.begin), rows.size(),
                                 y.shape[1], y.shape[2], eps);
  });
}

void gated_norm_backward(Context& ctx, const Tensor& d_o, const Tensor& dg, const Tensor& dy, const Tensor& o,
                         const Tensor& g, double eps) {
  ProfileScope scope(ctx.profiler(), "gated_norm", 36.0 * static_cast<double>(dy.elements()),
                     bytes_of(d_o, dg, dy, o, g));
  if (is_reference(o.dtype)) return ref::gated_norm_backward(d_o, dg, dy, o, g, eps);
  for_ranges(ctx, dy.rows(), rows_per_chunk(dy.row_size()), [&](Range rows) {
    ctx.cpu().gated_norm.backward(matrix(d_o, rows.begin), matrix(dg, rows.begin), matrix(dy, rows.begin),
                                  matrix(o, rows.begin), matrix(g, rows.begin), rows.size(), o.shape[1], o.shape[2],
                                  eps);
  });
}

}  // namespace tandem::kernels
