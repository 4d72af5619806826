// Span attention in bf16 whose products are computed by tiles (tile_product.h says what those are). A template over the
// type that holds the instructions: cpu/amx/attention.cpp has the processor's own, the tests have an emulation.
//
// Everything but the products is the code for vectors, over groups of 32 rows: two tiles of rows share what is loaded
// of the other operand, so that four multiplications need four loads. Between products each half of a group has its own
// columns: short blocks see little of 32 rows. Operands fit as they are packed for vectors: queries, keys and values
// [rows, units] are left operands, [units, 64] and [32 pairs, P] right ones. So that every step is a whole one, head
// sizes are multiples of 32; others go to vectors.
//
// A step adds 32 rows (keys forward, queries or keys backward) that begin at a multiple of 32 of their tile, with zeros
// where a group has to do with fewer: a sum's bits do not depend on where what is visible begins and ends.
//
// The gradient of the scores stands ready as a right operand, pairs of keys by queries. So the gradients of queries are
// summed turned, as [P, 64]: keys are turned once for all queries, and the sums when they are finished.
#pragma once

#include "kernels/cpu/span_attention_backward.h"
#include "kernels/cpu/span_attention_forward.h"
#include "kernels/cpu/tile_config.h"

#if defined(__AVX512BF16__)

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace attention {

inline constexpr int64_t kTileWords = kTileBytes / 4;  // units of a step, and columns of a tile of sums

template <class Tiles>
struct Bf16Tiles : Bf16Pairs {
  static constexpr int64_t kRows = 2 * kTileRows, kPart = kTileRows;
  static constexpr int64_t kStep = kTileWords * kPerUnit;
  static constexpr bool kTurnedQueries = true;

  // As ByVectors::product, over whole steps.
  template <bool kAdd>
  static void product(Matrix c, Left a, const float* b, int64_t b_stride, int64_t columns, int64_t steps) {
    constexpr int64_t kMost = 2 * kTileWords;
    for (; columns >= kMost; columns -= kMost, c.data += kMost, b += kMost) block<2, kAdd>(c, a, b, b_stride, steps);
    if (columns > 0) block<1, kAdd>(c, a, b, b_stride, steps);
  }

  // [P, 32]: words of two rows, by features.
  static void pack_turned_rows(float* to, HeadRows from, int64_t rows, int64_t head_size) {
    const auto* in = static_cast<const Element*>(from.data);
    for (int64_t word = 0; word < kTile / kPerUnit; word += kLanes) {
      for (int64_t i = 0; i < head_size; i += kLanes) {
        F block[kLanes];
        for (int64_t w = 0; w < kLanes; ++w) {
          const int64_t r = (word + w) * kPerUnit;
          const Element* at = in + r * from.stride + i;
          block[w] = pairs(r < rows ? load(at) : zero(), r + 1 < rows ? load(at + from.stride) : zero());
        }
        transpose(block);
#pragma GCC unroll 16
        for (int64_t j = 0; j < kLanes; ++j) store(to + (i + j) * (kTile / kPerUnit) + word, block[j]);
      }
    }
  }

 private:
  static constexpr int kSums = 0, kLeft = 4, kRight = 6;

  // 32 rows and V tiles of columns; sums of the lower rows lie two tiles behind those of the upper ones.
  template <int V, bool kAdd>
  static TANDEM_INLINE void block(Matrix c, Left a, const float* b, int64_t b_stride, int64_t steps) {
    const int64_t c_bytes = c.stride * 4, a_bytes = a.row_stride * 4, b_bytes = b_stride * 4;
    float* lower_c = c.data + kTileRows * c.stride;
    const float* lower_a = a.data + kTileRows * a.row_stride;
    begin<kSums, V, kAdd>(c.data, c_bytes);
    begin<kSums + 2, V, kAdd>(lower_c, c_bytes);
    for (int64_t s = 0; s < steps; s += kTileWords, b += kTileWords * b_stride) {
      Tiles::template load<kRight>(b, b_bytes);
      Tiles::template load<kLeft>(a.data + s, a_bytes);
      Tiles::template multiply<kSums, kLeft, kRight>();
      if constexpr (V == 2) {
        Tiles::template load<kRight + 1>(b + kTileWords, b_bytes);
        Tiles::template multiply<kSums + 1, kLeft, kRight + 1>();
      }
      Tiles::template load<kLeft + 1>(lower_a + s, a_bytes);
      Tiles::template multiply<kSums + 2, kLeft + 1, kRight>();
      if constexpr (V == 2) Tiles::template multiply<kSums + 3, kLeft + 1, kRight + 1>();
    }
    end<kSums, V>(c.data, c_bytes);
    end<kSums + 2, V>(lower_c, c_bytes);
  }
  template <int t, int V, bool kAdd>
  static TANDEM_INLINE void begin(const float* c, int64_t bytes) {
    if constexpr (kAdd) {
      Tiles::template load<t>(c, bytes);
      if constexpr (V == 2) Tiles::template load<t + 1>(c + kTileWords, bytes);
    } else {
      Tiles::template zero<t>();
      if constexpr (V == 2) Tiles::template zero<t + 1>();
    }
  }
  template <int t, int V>
  static TANDEM_INLINE void end(float* c, int64_t bytes) {
    Tiles::template store<t>(c, bytes);
    if constexpr (V == 2) Tiles::template store<t + 1>(c + kTileWords, bytes);
  }

  static_assert(kRows % kStep == 0);  // the gradients of a group's scores are whole steps of the queries' gradients
};

// All tiles are whole ones, for the length of a call.
template <class Tiles>
class WholeTiles {
 public:
  WholeTiles() { Tiles::configure(whole_tiles()); }
  ~WholeTiles() { Tiles::release(); }
  WholeTiles(const WholeTiles&) = delete;
  WholeTiles& operator=(const WholeTiles&) = delete;
};

TANDEM_INLINE bool fits_tiles(int64_t head_size) { return head_size % (kTileWords * Bf16::kPerUnit) == 0; }

template <class Tiles>
void forward_by_tiles(const AttentionForwardTile& tile) {
  if (!fits_tiles(tile.rows.shape.head_size)) return forward_tile<Bf16>(tile);
  WholeTiles<Tiles> tiles;
  forward_tile<Bf16Tiles<Tiles>>(tile);
}

template <class Tiles>
void backward_by_tiles(const AttentionBackwardTile& tile) {
  if (!fits_tiles(tile.shape.head_size)) return backward_tile<Bf16>(tile);
  WholeTiles<Tiles> tiles;
  backward_tile<Bf16Tiles<Tiles>>(tile);
}

template <class T>
TANDEM_INLINE void finish_turned(T* dq, int64_t stride, const float* const* parts, int64_t part_count, int64_t rows,
                                 int64_t head_size, float scale) {
  const F factor = broadcast(scale);
  for (int64_t r = 0; r < rows; r += kLanes) {
    for (int64_t i = 0; i < head_size; i += kLanes) {
      F block[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) {
        F sum = zero();
        for (int64_t p = 0; p < part_count; ++p) sum += load(parts[p] + (i + j) * kTile + r);
        block[j] = sum * factor;
      }
      transpose(block);
      for (int64_t j = 0; j < lower(kLanes, rows - r); ++j) store(dq + (r + j) * stride + i, block[j]);
    }
  }
}

inline void finish_queries_of_tiles(HeadRows dq, bool is_bf16, const float* const* parts, int64_t part_count,
                                    int64_t rows, int64_t head_size, float scale) {
  if (!fits_tiles(head_size)) return finish_queries(dq, is_bf16, parts, part_count, rows, head_size, scale);
  if (is_bf16) {
    finish_turned(static_cast<uint16_t*>(dq.data), dq.stride, parts, part_count, rows, head_size, scale);
  } else {
    finish_turned(static_cast<float*>(dq.data), dq.stride, parts, part_count, rows, head_size, scale);
  }
}

// Groups of more rows than those of vectors: enough for either.
template <class Tiles>
int64_t forward_workspace_of_tiles(int64_t head_size) {
  return forward_floats<Bf16Tiles<Tiles>>(head_size);
}
template <class Tiles>
int64_t backward_workspace_of_tiles(int64_t head_size) {
  return backward_floats<Bf16Tiles<Tiles>>(head_size);
}

}  // namespace attention

// `kernels` with tiles for what tiles can do.
template <class Tiles>
SpanAttentionKernels attention_by_tiles(SpanAttentionKernels kernels) {
  static_assert(attention::Bf16Tiles<Tiles>::kRows >= attention::Bf16::kRows);  // of workspaces
  kernels.bf16.forward = attention::forward_by_tiles<Tiles>;
  kernels.bf16.backward = attention::backward_by_tiles<Tiles>;
  kernels.bf16.finish_queries = attention::finish_queries_of_tiles;
  kernels.forward_workspace = attention::forward_workspace_of_tiles<Tiles>;
  kernels.backward_workspace = attention::backward_workspace_of_tiles<Tiles>;
  return kernels;
}

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE

#endif
