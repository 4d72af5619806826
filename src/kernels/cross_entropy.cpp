#include "kernels/cross_entropy.h"

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/cross_entropy.h"

namespace tandem::kernels {

void cross_entropy(Context& ctx, const Tensor& loss, const Tensor& dlogits, std::span<int32_t> best,
                   const Tensor& logits, std::span<const int32_t> labels, double multiplier, double scale) {
  double moved = 2 * bytes_of(logits) + (dlogits.defined() ? bytes_of(logits, dlogits) : 0.0);
  ProfileScope scope(ctx.profiler(), "cross_entropy", 30.0 * static_cast<double>(logits.elements()), moved);
  if (is_reference(logits.dtype)) {
    return ref::cross_entropy(loss, dlogits, best, logits, labels, multiplier, scale);
  }
  int64_t vocabulary = logits.row_size(), rows_at_once = chunk_rows(vocabulary);
  ArenaScope arena(ctx.scratch());
  // One row for each thread: the exponentials are computed once, for the sum and for the gradient.
  Tensor kept = ctx.scratch().tensor(DType::f32, {ctx.pool().threads(), vocabulary});
  ctx.pool().run(chunk_count(logits.rows(), rows_at_once), [&](int64_t chunk, int worker) {
    Range rows = chunk_range(chunk, rows_at_once, logits.rows());
    for (int64_t t = rows.begin; t < rows.end; ++t) {
      size_t i = static_cast<size_t>(t);
      cpu::Matrix gradient = dlogits.defined() ? matrix(dlogits, t) : cpu::Matrix{nullptr, 0, false};
      ctx.cpu().cross_entropy.row(loss.row<float>(t), gradient, kept.row<float>(worker),
                                  best.empty() ? nullptr : &best[i], logits.row<float>(t), vocabulary,
                                  labels[i] == kIgnoredLabel ? -1 : labels[i], static_cast<float>(multiplier),
                                  static_cast<float>(scale));
    }
  });
}

}  // namespace tandem::kernels
