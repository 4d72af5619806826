#include "kernels/layernorm.h"

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/layernorm.h"
#include "kernels/row_sums.h"

namespace tandem::kernels {

void layernorm_forward(Context& ctx, const Tensor& y, const Tensor& mean, const Tensor& r, const Tensor& x,
                       const Tensor& weight, const Tensor& bias, double eps) {
  ProfileScope scope(ctx.profiler(), "layernorm", 7.0 * static_cast<double>(x.elements()), bytes_of(x, y));
  if (is_reference(x.dtype)) return ref::layernorm_forward(y, mean, r, x, weight, bias, eps);
  int64_t d = x.row_size();
  for_ranges(ctx, x.rows(), chunk_rows(d), [&](Range rows) {
    float* mean_out = mean.defined() ? mean.as<float>() + rows.begin : nullptr;
    float* r_out = r.defined() ? r.as<float>() + rows.begin : nullptr;
    ctx.cpu().layernorm.forward(matrix(y, rows.begin), mean_out, r_out, matrix(x, rows.begin), weight.as<float>(),
                                bias.as<float>(), rows.size(), d, eps);
  });
}

void layernorm_backward(Context& ctx, const Tensor& dx, bool accumulate, const Tensor& dweight, const Tensor& dbias,
                        const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& r, const Tensor& weight) {
  ProfileScope scope(ctx.profiler(), "layernorm", 14.0 * static_cast<double>(x.elements()), bytes_of(x, dy, dx));
  if (is_reference(x.dtype)) {
    return ref::layernorm_backward(dx, accumulate, dweight, dbias, dy, x, mean, r, weight);
  }
  int64_t d = x.row_size();
  add_row_sums(ctx, {dweight.as<float>(), dbias.as<float>()}, x.rows(), d, [&](Range rows, float* partial) {
    ctx.cpu().layernorm.backward(matrix(dx, rows.begin), accumulate, partial, partial + d, matrix(dy, rows.begin),
                                 matrix(x, rows.begin), mean.as<float>() + rows.begin, r.as<float>() + rows.begin,
                                 weight.as<float>(), rows.size(), d);
  });
}

}  // namespace tandem::kernels
