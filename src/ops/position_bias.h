// Relative position biases of attention scores (Raffel et al. 2020) for short sequences, without a kernel of their own:
// a head gets as many features more as there are positions. A query holds the biases of all keys' positions in them, a
// key a one at its own, so that their product is the score with its bias. Values get zeros.
#pragma once

#include <span>

#include "ops/span_attention.h"
#include "ops/tape.h"

namespace tandem::ops {

// The bucket of a key `distance` >= 0 positions before its query, of `buckets` buckets: one for each distance in the
// first half of them, the others log-spaced up to `most` (T5's buckets of one direction).
int64_t relative_bucket(int64_t distance, int64_t buckets, int64_t most);

struct PositionBias {
  int64_t heads = 0;
  int64_t head_dim = 0;   // without the features that are added
  int64_t positions = 0;  // positions are below this
  int64_t most_distance = 128;
  // Added features: even, as attention wants the size of a head.
  int64_t added() const { return positions + positions % 2; }
  int64_t wide() const { return head_dim + added(); }
};

// qkv [T, 3 * heads * head_dim] (queries, keys, values) -> the same with wide heads. table [buckets, heads].
// `positions` must outlive backward().
Var widen_heads(Tape& tape, Var qkv, const PositionBias& bias, std::span<const int32_t> positions, const Weight& table);

// What attention gives, [T, heads * wide], without the added features: [T, heads * head_dim].
Var narrow_heads(Tape& tape, Var attended, const PositionBias& bias);

}  // namespace tandem::ops
