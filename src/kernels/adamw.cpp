#include "kernels/adamw.h"

#include <cmath>

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/adamw.h"

namespace tandem::kernels {
namespace {

cpu::AdamWScalars prepare(const AdamWStep& step) {
  double count = static_cast<double>(step.step);
  return {.gradient_scale = static_cast<float>(step.gradient_scale),
          .beta1 = static_cast<float>(step.beta1),
          .one_minus_beta1 = static_cast<float>(1.0 - step.beta1),
          .beta2 = static_cast<float>(step.beta2),
          .one_minus_beta2 = static_cast<float>(1.0 - step.beta2),
          .decay = static_cast<float>(1.0 - step.learning_rate * step.weight_decay),
          .step_size = static_cast<float>(step.learning_rate / (1.0 - std::pow(step.beta1, count))),
          .v_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(step.beta2, count))),
          .eps = static_cast<float>(step.eps)};
}

}  // namespace

void adamw(Context& ctx, const Tensor& w, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& compute,
           const AdamWStep& step) {
  double moved = 2 * bytes_of(w, m, v) + bytes_of(g) + (compute.defined() ? bytes_of(compute) : 0.0);
  ProfileScope scope(ctx.profiler(), "adamw", 14.0 * static_cast<double>(w.elements()), moved);
  // In a reference run the gradients are doubles; the masters stay what they are.
  if (is_reference(w.dtype) || is_reference(g.dtype)) return ref::adamw(w, g, m, v, compute, step);
  cpu::AdamWScalars scalars = prepare(step);
  bool contiguous = w.contiguous() && g.contiguous() && m.contiguous() && v.contiguous() &&
                    (!compute.defined() || compute.contiguous());
  for_runs(ctx, w, contiguous, kChunkElements, [&](int64_t t, int64_t i, int64_t n) {
    ctx.cpu().adamw.update(w.row<float>(t) + i, g.row<float>(t) + i, m.row<float>(t) + i, v.row<float>(t) + i,
                           compute.defined() ? compute.row<bf16>(t) + i : nullptr, n, scalars);
  });
}

double sum_of_squares(Context& ctx, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "sum_of_squares", 2.0 * static_cast<double>(x.elements()), bytes_of(x));
  if (is_reference(x.dtype)) return ref::sum_of_squares(x);
  int64_t rows = x.contiguous() ? 1 : x.rows();
  int64_t n = x.contiguous() ? x.elements() : x.row_size();
  int64_t chunks = chunk_count(n, kChunkElements);
  ArenaScope arena(ctx.scratch());
  double* partials = ctx.scratch().tensor(DType::f64, {rows * chunks}).as<double>();
  ctx.pool().run(rows * chunks, [&](int64_t index, int) {
    Range range = chunk_range(index % chunks, kChunkElements, n);
    partials[index] = ctx.cpu().adamw.sum_of_squares(x.row<float>(index / chunks) + range.begin, range.size());
  });
  double sum = 0;
  for (int64_t index = 0; index < rows * chunks; ++index) sum += partials[index];
  return sum;
}

}  // namespace tandem::kernels
