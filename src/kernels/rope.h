// Rotary position embedding (Su et al. 2021): each pair of features is turned by position * base^(-2i/D).
#pragma once

#include <span>

#include "kernels/context.h"

namespace tandem::kernels {

// Which two features of the R that turn make pair i: (2i, 2i+1), or (i, i + R/2).
enum class RopePairs { adjacent, half_split };

// The frequencies of the R/2 pairs: base^(-2i/R), as the field has them, or base^(-i/(R/2 - 1)), which includes the end
// point: the slowest is 1/base exactly (YOCO).
enum class RopeFrequencies { half_open, end_included };

// Fills cos and sin [P, R/2] (f32, or f64 for reference runs) for positions 0..P-1. Angles are computed in float32 as
// position * inverse frequency, as the field's implementations do, so that tables agree with theirs to the last bit or
// nearly so.
void rope_table(const Tensor& cos, const Tensor& sin, double base,
                RopeFrequencies frequencies = RopeFrequencies::half_open);

// Turns the first R features of each head of x [T, H, D] (f32 or bf16) in place, R <= D, row t by positions[t] (each <
// P). `inverse` turns back: the gradient.
void rope_apply(Context& ctx, const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
                RopePairs pairs, bool inverse);

}  // namespace tandem::kernels
