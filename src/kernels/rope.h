// Rotary position embedding (Su et al. 2021): each pair of features is turned by position * base^(-2i/D).
#pragma once

#include <span>

#include "kernels/context.h"

namespace tandem::kernels {

// Which two features of a head of D features make pair i: (2i, 2i+1), or (i, i + D/2).
enum class RopePairs { adjacent, half_split };

// The frequencies of the D/2 pairs: base^(-2i/D), as the field has them, or base^(-i/(D/2 - 1)), which includes the end
// point: the slowest is 1/base exactly (YOCO).
enum class RopeFrequencies { half_open, end_included };

// Fills cos and sin [P, D/2] (f32, or f64 for reference runs) for positions 0..P-1. Angles are computed in float32 as
// position * inverse frequency, as the field's implementations do, so that tables agree with theirs to the last bit or
// nearly so.
void rope_table(const Tensor& cos, const Tensor& sin, double base,
                RopeFrequencies frequencies = RopeFrequencies::half_open);

// Turns x [T, H, D] (f32 or bf16) in place, row t by positions[t] (each < P). `inverse` turns back: the gradient.
void rope_apply(Context& ctx, const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
                RopePairs pairs, bool inverse);

}  // namespace tandem::kernels
