// One head of one tile of kernels/gated_retention.h.
#pragma once

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

inline constexpr int64_t kRetentionRows = 64;  // of a tile

struct RetentionHead {
  Matrix q, o;  // from the first query's row on
  Matrix k, v;  // from the tile's first token on
  const float* log_decay;
  int64_t decay_stride;  // elements from one token to the next
  const float* before;   // [n][n]; null: zeros
  float* behind;         // [n][n]; null: not wanted
  int64_t tokens, first_query, queries;
  int64_t n;  // features
  float scale;
};

struct RetentionHeadGradient {
  Matrix d_o, dq, dk, dv;
  float* d_decay;  // with the stride of log_decay's rows in d_decay_stride
  int64_t d_decay_stride;
  float* d_state;  // state_floats(n): gradient for the state behind, replaced by that for the state before
};

struct GatedRetentionKernels {
  int64_t (*state_floats)(int64_t n);      // of d_state
  int64_t (*workspace_floats)(int64_t n);  // of `work`
  void (*forward_by_tile)(const RetentionHead& head, float* work);
  void (*forward_by_query)(const RetentionHead& head, float* work);
  void (*backward)(const RetentionHead& head, const RetentionHeadGradient& gradient, float* work);
};

}  // namespace tandem::cpu
