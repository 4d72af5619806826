// Rotary position embedding, in place on columns of an activation (kernels/rope.h has the formula).
#pragma once

#include <span>

#include "kernels/rope.h"
#include "ops/tape.h"

namespace tandem::ops {

using kernels::RopePairs;

// Cosines and sines of all positions a model may use.
struct RopeTable {
  Tensor cos;  // [P, D/2]
  Tensor sin;
  RopePairs pairs = RopePairs::adjacent;
};

// `heads` heads of `head_dim` features that stand side by side in a matrix, from column `first` on.
struct HeadColumns {
  int64_t first = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t end() const { return first + heads * head_dim; }
  // The columns of x as [T, heads, head_dim].
  Tensor of(const Tensor& x) const { return x.slice_columns(first, end()).view({x.rows(), heads, head_dim}); }
};

// Turns the heads of row t by positions[t], in x itself: x must not be needed as it was. InputError for a position
// beyond the table. `positions` must outlive backward().
void rope_in_place(Tape& tape, Var x, const HeadColumns& heads, std::span<const int32_t> positions,
                   const RopeTable& table);

}  // namespace tandem::ops
