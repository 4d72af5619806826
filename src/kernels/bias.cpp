#include "kernels/bias.h"

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/bias.h"
#include "kernels/row_sums.h"

namespace tandem::kernels {

void add_bias(Context& ctx, const Tensor& y, const Tensor& bias) {
  ProfileScope scope(ctx.profiler(), "bias", static_cast<double>(y.elements()), bytes_of(y, y));
  if (is_reference(y.dtype)) return ref::add_bias(y, bias);
  int64_t n = y.row_size();
  for_ranges(ctx, y.rows(), chunk_rows(n),
             [&](Range rows) { ctx.cpu().bias.forward(matrix(y, rows.begin), bias.as<float>(), rows.size(), n); });
}

void bias_backward(Context& ctx, const Tensor& dbias, const Tensor& dy) {
  ProfileScope scope(ctx.profiler(), "bias", static_cast<double>(dy.elements()), bytes_of(dy));
  if (is_reference(dy.dtype)) return ref::bias_backward(dbias, dy);
  int64_t n = dy.row_size();
  add_row_sums(ctx, {dbias.as<float>()}, dy.rows(), n, [&](Range rows, float* partial) {
    ctx.cpu().bias.backward(partial, matrix(dy, rows.begin), rows.size(), n);
  });
}

}  // namespace tandem::kernels
