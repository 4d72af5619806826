// See kernels/rope.h.
#pragma once

#include "kernels/rope.h"

namespace tandem::kernels::ref {

void rope_apply(const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
                RopePairs pairs, bool inverse);

}  // namespace tandem::kernels::ref
