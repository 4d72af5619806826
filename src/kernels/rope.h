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

// Frequencies that a model changed after its training on shorter rows. `linear`: all of them divided by `factor` (Chen
// et al. 2023). `llama3` (Llama 3.1): those that turn less than low_turns times in original_length positions are
// divided by `factor`, those that turn more than high_turns times stay, and between the two they pass from the one to
// the other.
struct RopeScaling {
  enum class Kind { none, linear, llama3 };
  Kind kind = Kind::none;
  double factor = 1;
  double low_turns = 1;
  double high_turns = 4;
  int64_t original_length = 8192;
};

// Fills cos and sin [P, R/2] (f32, or f64 for reference runs) for positions 0..P-1. Angles are computed in float32 as
// position * inverse frequency, as the field's implementations do, so that tables agree with theirs to the last bit or
// nearly so.
void rope_table(const Tensor& cos, const Tensor& sin, double base,
                RopeFrequencies frequencies = RopeFrequencies::half_open, const RopeScaling& scaling = {});

// Turns the first R features of each head of x [T, H, D] (f32 or bf16) in place, R <= D, row t by positions[t] (each <
// P). `inverse` turns back: the gradient.
void rope_apply(Context& ctx, const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
                RopePairs pairs, bool inverse);

}  // namespace tandem::kernels
