// See kernels/cross_entropy.h.
#pragma once

#include "kernels/cross_entropy.h"

namespace tandem::kernels::ref {

void cross_entropy(const Tensor& loss, const Tensor& dlogits, std::span<int32_t> best, const Tensor& logits,
                   std::span<const int32_t> labels, double multiplier, double scale);

}  // namespace tandem::kernels::ref
