// Products of plain matrices: packing, and one chunk of a result.
//
// Both operands are seen as words of 4 bytes along the dimension that is summed over: one f32, or two neighbouring
// bf16, the last word of an odd length filled up with zero. The right operand is packed into panels of `columns`
// columns,
//   [panel][words][columns]
// the left one is read where it lies, or, where its words do not lie one behind the other, packed into panels of `rows`
// rows. How those lie is the kernels' own business: [panel][words][rows] for vectors, tiles in tile_product.h.
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

// An operand [n, k] in memory, either stride 1, and where its panels go.
struct Packing {
  char* to;  // null: nothing is packed
  const void* from;
  int64_t n_stride, k_stride, n, k;
};

// C[rows, columns] = start + A B over `words`.
struct ProductChunk {
  const char* a;        // element [0, 0], or packed panels
  int64_t a_row_bytes;  // from one row to the next; 0: packed
  const char* b;        // packed panels
  int64_t words;
  Matrix c;            // from the chunk's first element on
  const float* start;  // what the product is added to: null (zero), C itself, or memory apart from it
  int64_t start_stride;
  int64_t rows, columns;
  bool fetch_start;  // it is not in the caches
  Ahead ahead[2];
  Packing next_a, next_b;  // for the next chunk, to be packed while this one is computed (ProductFigures::packs_ahead)
};

// What a product is cut by (own_product.cpp): sizes for which operands stay in the caches, and what cuts cost.
struct ProductFigures {
  int64_t whole_words;  // sums up to this long are formed in one go,
  int64_t block_words;  // longer ones in equal blocks of at most this
  int64_t b_bytes;      // at most, of B's panels in a block
  int64_t a_bytes;      // at most, of A's panels in a block
  int64_t sums_bytes;   // at most, of the sums of a chunk that are formed in several blocks
  bool packs_ahead;     // multiply() packs for the next chunk; the sizes of packed panels are those of one chunk
  bool bf16_in_blocks;  // sums that are rounded to bf16 as well: they grow in memory of their own
  // In the time of one multiply-add: packing an element of A, reading it where it lies, packing one of B whose columns,
  // or whose words, lie side by side.
  double pack_a, read_a, pack_b, pack_turned_b;
  double hand_out;  // FLOPs in the time that handing out a chunk takes
};

struct ProductKernels {
  int64_t rows, columns;  // of a panel of A and of B
  int64_t word_unit;      // panels are filled up with words of zero to whole units
  ProductFigures figures;
  // Writes kProductSlack bytes past the panels' end.
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
