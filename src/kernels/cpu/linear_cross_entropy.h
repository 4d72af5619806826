// What kernels/linear_cross_entropy.h does between its products of matrices. Logits lie transposed, [vocabulary,
// tokens]: what belongs to a token is a lane.
#pragma once

#include <stdint.h>

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

inline constexpr int64_t kTokenTile = 128;        // tokens whose logits are computed together
inline constexpr int64_t kTermPanelColumns = 32;  // of a panel of terms as a right operand (ProductKernels::columns)

// Logits of some entries of the vocabulary become terms 2^(factor * logit - level), rounded to bf16. The level, one for
// each token, is a whole number: dividing by 2^level is exact. It begins at the largest of the first logits, rounded
// up, and rises where later ones are larger by more than a factor of 2^kLevelRoom: terms are bounded, and nearly always
// one level serves a whole group of blocks.
struct TermBlock {
  const float* logits;  // [rows][kTokenTile]
  int64_t rows;
  float factor;  // multiplier * log2(e)
  bool first;    // level, sum and out hold nothing yet
  float* level;  // [kTokenTile]
  float* sum;    // [kTokenTile]: of the terms before they are rounded
  float* out;    // [out_rows][kTokenTile]: sums of terms, brought to the new level where that rises
  int64_t out_rows;
  uint16_t* terms;  // [rows][kTokenTile], rows terms_stride elements apart, each at a whole vector's address
  int64_t terms_stride;
  char* panels;         // the same as a right operand, words of two rows: [panel][panel_words][kTermPanelColumns]
  int64_t panel_words;  // at least rows / 2; filled up with zeros
  int64_t panel_bytes;  // from one panel to the next
};

inline constexpr float kLevelRoom = 32;

// dx[t] = sum over parts of factor[t] part[.][t] - label_factor weight[label], for up to 16 tokens.
struct TokenGradient {
  Matrix dx;  // from the first token on
  int64_t tokens, width;
  const float* parts;  // [part][width][kTokenTile], from the first token on
  int64_t part_stride, part_count;
  const float* factors;  // [part][kTokenTile]
  const uint16_t* weight;
  int64_t weight_stride;
  const int32_t* labels;  // negative: the row becomes zero
  float label_factor;
};

struct LinearCrossEntropyKernels {  // null where there are no products of bf16
  void (*terms)(const TermBlock& block);
  void (*token_gradient)(const TokenGradient& job);
  // out[t] = factors[t] x[t], rounded, rows of n elements side by side.
  void (*scale_rows)(uint16_t* out, const uint16_t* x, int64_t x_stride, const float* factors, int64_t rows, int64_t n);
  // row += factor * x
  void (*add_scaled)(float* row, const uint16_t* x, float factor, int64_t n);
};

}  // namespace tandem::cpu
