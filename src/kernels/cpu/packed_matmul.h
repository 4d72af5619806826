// Products of blocks of rows with one panel of a packed weight (kernels/packed_weight.h).
//
// Both operands are cut along the inputs into the format's groups, the last one padded with zeros, and consist of words
// of 4 bytes. A word holds what one instruction multiplies: one f32, two bf16, four bytes, eight nibbles.
//   panel  [groups][words of a group][kPanelWidth outputs]; int4: before each group's words the outputs' bf16 scales
//   rows   [groups][words of a group][rows of the block]
#pragma once

#include <stdint.h>

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

inline constexpr int64_t kPanelWidth = 32;
inline constexpr int64_t kWordBytes = 4;

// Inputs per group. For the quantised formats the group of activations that share a scale, for int4 of weights, too.
inline constexpr int64_t kGroupF32 = 16, kGroupBf16 = 32, kGroupInt8 = 64, kGroupInt4 = 32;

// What is added to a weight's integer so that it is stored as an unsigned number.
inline constexpr int kOffsetInt8 = 128, kOffsetInt4 = 8;

// Activations of a group below this magnitude count as zero: the inverse of their scale might overflow.
inline constexpr float kLeastActivation = 1e-30f;

// y[rows, columns] (+)= rows of a block times a panel.
struct PackedTile {
  const char* panel;
  const float* scales;  // kPanelWidth of them, of int8 panels
  const char* block;
  int64_t groups;
  Matrix y;  // from the tile's first element on
  int64_t rows, columns;
  bool accumulate;
};

struct PackedFormatKernels {
  int64_t most_rows;    // of a block
  int64_t group_words;  // of one row, in a block
  // x[rows, k] -> a block for `multiply` with that number of rows
  void (*lay_out)(char* block, const Matrix& x, int64_t rows, int64_t k);
  void (*multiply)(const PackedTile& tile);
};

struct PackedMatmulKernels {
  PackedFormatKernels f32, bf16, int8, int4;
};

}  // namespace tandem::cpu
