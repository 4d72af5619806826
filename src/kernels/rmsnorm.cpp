#include "kernels/rmsnorm.h"

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/rmsnorm.h"
#include "kernels/row_sums.h"

namespace tandem::kernels {

void rmsnorm_forward(Context& ctx, const Tensor& y, const Tensor& r, const Tensor& x, const Tensor& weight,
                     double eps) {
  ProfileScope scope(ctx.profiler(), "rmsnorm", 4.0 * static_cast<double>(x.elements()), bytes_of(x, y));
  if (is_reference(x.dtype)) return ref::rmsnorm_forward(y, r, x, weight, eps);
  int64_t d = x.row_size();
  for_ranges(ctx, x.rows(), chunk_rows(d), [&](Range rows) {
    float* r_out = r.defined() ? r.as<float>() + rows.begin : nullptr;
    ctx.cpu().rmsnorm.forward(matrix(y, rows.begin), r_out, matrix(x, rows.begin), weight.as<float>(), rows.size(), d,
                              eps);
  });
}

void rmsnorm_backward(Context& ctx, const Tensor& dx, bool accumulate, const Tensor& dweight, const Tensor& dy,
                      const Tensor& x, const Tensor& r, const Tensor& weight) {
  ProfileScope scope(ctx.profiler(), "rmsnorm", 9.0 * static_cast<double>(x.elements()), bytes_of(x, dy, dx));
  if (is_reference(x.dtype)) return ref::rmsnorm_backward(dx, accumulate, dweight, dy, x, r, weight);
  int64_t d = x.row_size();
  add_row_sums(ctx, {dweight.as<float>()}, x.rows(), d, [&](Range rows, float* partial) {
    ctx.cpu().rmsnorm.backward(matrix(dx, rows.begin), accumulate, partial, matrix(dy, rows.begin),
                               matrix(x, rows.begin), r.as<float>() + rows.begin, weight.as<float>(), rows.size(), d);
  });
}

}  // namespace tandem::kernels
