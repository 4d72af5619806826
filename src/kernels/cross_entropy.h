// Softmax cross-entropy of rows of logits, and its gradient.
#pragma once

#include <span>

#include "kernels/context.h"

namespace tandem::kernels {

inline constexpr int32_t kIgnoredLabel = -100;

// logits [T, V] f32 (or a reference type), not yet multiplied: the row's distribution is
// softmax(multiplier * logits[t]). loss [T] of the same type: -log p[label], 0 for ignored labels. When dlogits [T, V]
// (f32 or bf16; may be the logits themselves if f32) is defined: dlogits[t, v] = scale * multiplier * (p[v] - [v ==
// label]), 0 for ignored rows. When best is not empty: best[t] = the id of the largest logit, the smallest such id on a
// tie.
void cross_entropy(Context& ctx, const Tensor& loss, const Tensor& dlogits, std::span<int32_t> best,
                   const Tensor& logits, std::span<const int32_t> labels, double multiplier, double scale);

}  // namespace tandem::kernels
