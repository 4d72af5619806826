// Products of plain matrices: packing, and one chunk of a result.
//
// Both operands are seen as words of 4 bytes along the dimension that is summed over: one f32, or two neighbouring
// bf16, the last word of an odd length filled up with zero. The right operand is packed into panels of `columns`
// columns,
//   [panel][words][columns]
// the left one is read where it lies, or, where its words do not lie one behind the other, packed into panels of `rows`
// rows, [panel][words][rows].
#pragma once

#include <stdint.h>

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

// Memory that is needed after a chunk: some bytes of each of some rows. It is asked for bit by bit while the chunk is
// computed.
struct Ahead {
  const char* data;
  int64_t row_bytes;  // from one row to the next
  int64_t rows, bytes;
};

// C[rows, columns] (+)= A B over `words`.
struct ProductChunk {
  const char* a;        // element [0, 0], or packed panels
  int64_t a_row_bytes;  // from one row to the next; 0: packed
  const char* b;        // packed panels
  int64_t words;
  Matrix c;  // from the chunk's first element on
  int64_t rows, columns;
  bool accumulate;    // f32 results only
  bool fetch_result;  // C is added to and not in the caches
  Ahead ahead[2];
};

struct ProductKernels {
  int64_t rows, columns;  // of a panel of A and of B
  // Operand [n, k] in memory, either stride 1 -> its panels; writes kProductSlack bytes past their end.
  void (*pack_a)(char* to, const void* from, int64_t n_stride, int64_t k_stride, int64_t n, int64_t k);
  void (*pack_b)(char* to, const void* from, int64_t n_stride, int64_t k_stride, int64_t n, int64_t k);
  void (*multiply)(const ProductChunk& chunk);
};

inline constexpr int64_t kProductSlack = 64;

struct ProductTypes {
  ProductKernels f32;
  ProductKernels bf16;  // multiply is null below AVX-512 BF16
};

}  // namespace tandem::cpu
