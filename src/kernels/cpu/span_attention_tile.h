// What the forward and the backward tiles of span attention share: element types, the small matrix product, 2^x,
// packing.
#pragma once

#include <math.h>
#include <string.h>

#include "kernels/cpu/fetcher.h"
#include "kernels/cpu/simd_math.h"
#include "kernels/cpu/simd_transpose.h"
#include "kernels/cpu/span_attention.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace attention {

inline constexpr int64_t kTile = kAttentionTile;
inline constexpr int64_t kVectors = kTile / kLanes;  // vectors across a tile

TANDEM_INLINE int64_t padded(int64_t head_size) { return (head_size + kLanes - 1) / kLanes * kLanes; }

// 2^x; results for bf16 are rounded anyway.
template <class Type>
TANDEM_INLINE F exp2(F x) {
  return Type::kPerUnit == 1 ? exp2_fine(x) : exp2_rough(x);
}
inline constexpr float kNever = -200.0f;  // 2^kNever is 0 in float32
inline constexpr float kLog2E = 1.44269504f;

// The columns of a tile that a group of rows has to do with.
struct Columns {
  int64_t begin;  // whole vectors
  int64_t end;
  bool masked;  // some row has to do with less than [begin, end)
};

// Lanes column .. column + kLanes - 1 that lie in [lo, hi).
TANDEM_INLINE Mask visible(int64_t column, int64_t lo, int64_t hi) {
#if defined(__AVX512F__)
  auto below = [column](int64_t limit) -> uint32_t {
    int64_t n = lower(upper(limit - column, 0), kLanes);
    return (1u << n) - 1;
  };
  return {static_cast<__mmask16>(below(hi) & ~below(lo))};
#else
  __m256i lane =
      _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(column)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  __m256i below_hi = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(hi)), lane);
  __m256i below_lo = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(lo)), lane);
  return {_mm256_castsi256_ps(_mm256_andnot_si256(below_lo, below_hi))};
#endif
}

// The left operand of a product, in units: element (row, step) at data[row * row_stride + step * step_stride].
struct Left {
  const float* data;
  int64_t row_stride;
  int64_t step_stride;
};
struct Matrix {
  float* data;
  int64_t stride;
};

// Asks for the part `part` of `parts` of n floats that are needed soon: while one tile is worked on, the next one comes
// from the outer caches bit by bit. kCache: into which one (fetcher.h).
template <int kCache>
TANDEM_INLINE void prefetch_part(const float* data, int64_t n, int64_t part, int64_t parts) {
  constexpr int64_t kLine = 16;
  for (int64_t i = n * part / parts / kLine * kLine; i < n * (part + 1) / parts; i += kLine) {
    __builtin_prefetch(data + i, 0, kCache);
  }
}

// --- Element types, and how their small products are computed ------------------------------------------------------

struct Floats {
  using Element = float;
  static constexpr int64_t kPerUnit = 1;
  static TANDEM_INLINE F multiply_add(F a, F b, F c) { return fma(a, b, c); }
};

#if defined(__AVX512BF16__)
struct Bf16Pairs {
  using Element = uint16_t;
  static constexpr int64_t kPerUnit = 2;
  static TANDEM_INLINE F multiply_add(F a, F b, F c) { return fma_pairs(a, b, c); }
  // Lane i: low[i] and, in its upper half, high[i]; both are widened bf16 values.
  static TANDEM_INLINE F pairs(F low, F high) {
    return {_mm512_castsi512_ps(
        _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(low.v), 16), _mm512_castps_si512(high.v)))};
  }
};
#endif

// Products by vectors, kRows x 2 registers at a time.
template <class Elements>
struct ByVectors : Elements {
  static constexpr int64_t kRows = kLanes / 2;  // of a group: what one call of product() gives
  static constexpr int64_t kPart = kRows;       // rows of a group that share what they see, between products
  // Columns that are summed over begin and end at multiples of this.
  static constexpr int64_t kStep = kLanes;
  // Whether the gradients of queries are summed as [P, 64] and not as [64, P].
  static constexpr bool kTurnedQueries = false;

  // C[kRows, columns] = (kAdd ? C : 0) + A B over `steps` units, for a whole number of vectors of columns.
  template <bool kAdd>
  static TANDEM_INLINE void product(Matrix c, Left a, const float* b, int64_t b_stride, int64_t columns,
                                    int64_t steps) {
    int64_t n = 0;
    for (; n + 2 * kLanes <= columns; n += 2 * kLanes) {
      block<2, kAdd>({c.data + n, c.stride}, a, b + n, b_stride, steps);
    }
    if (n < columns) block<1, kAdd>({c.data + n, c.stride}, a, b + n, b_stride, steps);
  }

 private:
  template <int kWide, bool kAdd>
  static TANDEM_INLINE void block(Matrix c, Left a, const float* b, int64_t b_stride, int64_t steps) {
    F sum[kRows][kWide];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < kWide; ++n) sum[r][n] = kAdd ? load(c.data + r * c.stride + n * kLanes) : zero();
    }
    for (int64_t s = 0; s < steps; ++s) {
      F right[kWide];
#pragma GCC unroll 4
      for (int n = 0; n < kWide; ++n) right[n] = load(b + s * b_stride + n * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        F left = broadcast(a.data[r * a.row_stride + s * a.step_stride]);
#pragma GCC unroll 4
        for (int n = 0; n < kWide; ++n) sum[r][n] = Elements::multiply_add(left, right[n], sum[r][n]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < kWide; ++n) store(c.data + r * c.stride + n * kLanes, sum[r][n]);
    }
  }
};

using F32 = ByVectors<Floats>;
#if defined(__AVX512BF16__)
using Bf16 = ByVectors<Bf16Pairs>;
#endif

// The columns of whole steps around those of a group.
template <class Type>
TANDEM_INLINE Columns in_steps(const Columns& columns) {
  if constexpr (Type::kStep == kLanes) return columns;
  constexpr int64_t kStep = Type::kStep;
  return {columns.begin / kStep * kStep, (columns.end + kStep - 1) / kStep * kStep, columns.masked};
}

// --- Operands ------------------------------------------------------------------------------------------------------

// Stores a row of `vectors` vectors as a left operand: floats, or bf16 in the same order. At most kVectors.
template <class Type>
TANDEM_INLINE void store_left(float* to, int64_t vector, F x) {
  if constexpr (Type::kPerUnit == 1) {
    store(to + vector * kLanes, x);
  } else {
    store(reinterpret_cast<uint16_t*>(to) + vector * kLanes, x);
  }
}

// Zeros in a row of a left operand where a group's columns are not all of `steps`: adding them changes no bit.
template <class Type>
TANDEM_INLINE void clear_left(float* row, const Columns& columns, const Columns& steps) {
  if constexpr (Type::kStep == kLanes) return;
  for (int64_t c = steps.begin; c < columns.begin; c += kLanes) store_left<Type>(row, c / kLanes, zero());
  for (int64_t c = columns.end; c < steps.end; c += kLanes) store_left<Type>(row, c / kLanes, zero());
}

// The left operand of 64 rows of one head: [64, units], rows past `rows` zero.
template <class Type>
TANDEM_INLINE void pack_left(float* to, HeadRows from, int64_t rows, int64_t units) {
  const auto* in = static_cast<const typename Type::Element*>(from.data);
  for (int64_t r = 0; r < rows; ++r) {
    memcpy(to + r * units, in + r * from.stride, static_cast<size_t>(units) * sizeof(float));
  }
  memset(to + rows * units, 0, static_cast<size_t>((kTile - rows) * units) * sizeof(float));
}

// [units, 64] from the rows of a head; columns past `rows` zero.
template <class Type>
TANDEM_INLINE void pack_columns(float* to, HeadRows from, int64_t rows, int64_t units) {
  const auto* in = static_cast<const typename Type::Element*>(from.data);
  for (int64_t r = 0; r < kTile; r += kLanes) {
    for (int64_t u = 0; u < units; u += kLanes) {
      int64_t n = lower(kLanes, units - u);
      F block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        const auto* at = in + (r + i) * from.stride + u * Type::kPerUnit;
        block[i] = r + i < rows ? load(reinterpret_cast<const float*>(at), n) : zero();
      }
      transpose(block);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        if (i < n) store(to + (u + i) * kTile + r, block[i]);
      }
    }
  }
}

// [64 / kPerUnit, P] from the rows of a head; rows past `rows` and the padding of each row zero.
template <class Type>
TANDEM_INLINE void pack_rows(float* to, HeadRows from, int64_t rows, int64_t head_size) {
  int64_t wide = padded(head_size);
  const auto* in = static_cast<const typename Type::Element*>(from.data);
  for (int64_t r = 0; r < kTile; r += Type::kPerUnit) {
    float* row = to + r / Type::kPerUnit * wide;
    for (int64_t i = 0; i < head_size; i += kLanes) {
      int64_t n = lower(kLanes, head_size - i);
      const auto* at = in + r * from.stride + i;
      F x = r < rows ? load(at, n) : zero();
      if constexpr (Type::kPerUnit == 2) x = Type::pairs(x, r + 1 < rows ? load(at + from.stride, n) : zero());
      store(row + i, x);
    }
  }
}

}  // namespace attention
}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
