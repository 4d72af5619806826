// A tile of keys against all queries that see it: the scores are computed again from q and k, the probabilities from
// the log-sum-exp. Everything here is transposed (a row is a key, a column a query), so that what belongs to a query is
// a vector and the sums over queries for dk and dv have their left operand in memory order.
#pragma once

#include "kernels/cpu/span_attention_tile.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace attention {

// Of one key tile, in the worker's memory.
struct BackwardState {
  float* k;  // left operands [64, units]
  float* v;
  float* k_rows;  // [64 / kPerUnit, P]; under kTurnedQueries [P, 64 / kPerUnit], a left operand
  float* dk;      // sums [64, P]
  float* dv;
  float* scores;   // [Type::kRows, 64]
  float* d_p;      // [Type::kRows, 64]: gradient of the probabilities
  float* weights;  // [Type::kRows, 64] probabilities as a left operand
  float* d_left;   // [64, 64] gradient of the scores as a left operand whose steps are queries
  float* d_steps;  // the same with keys as steps: d_left itself, or for bf16 [32, 64] pairs of keys
};

template <class Type>
TANDEM_INLINE int64_t backward_floats(int64_t head_size) {
  int64_t wide = padded(head_size);
  return 2 * kTile * head_size + 3 * kTile * wide + 3 * Type::kRows * kTile + 2 * kTile * kTile;
}

template <class Type>
TANDEM_INLINE BackwardState backward_state(float* memory, int64_t head_size) {
  int64_t wide = padded(head_size);
  BackwardState s;
  s.dk = memory;
  s.dv = s.dk + kTile * wide;
  s.k_rows = s.dv + kTile * wide;
  s.scores = s.k_rows + kTile * wide;
  s.d_p = s.scores + Type::kRows * kTile;
  s.weights = s.d_p + Type::kRows * kTile;
  s.d_left = s.weights + Type::kRows * kTile;
  s.d_steps = Type::kPerUnit == 1 ? s.d_left : s.d_left + kTile * kTile;
  s.k = s.d_left + 2 * kTile * kTile;
  s.v = s.k + kTile * head_size;
  return s;
}

// What a packed tile of queries holds.
struct PackedQueries {
  const float* q_columns;
  const float* d_o_columns;
  const float* q_rows;
  const float* d_o_rows;
};

template <class Type>
TANDEM_INLINE PackedQueries packed_queries(const float* packed, int64_t head_size) {
  int64_t columns = head_size / Type::kPerUnit * kTile, rows = kTile / Type::kPerUnit * padded(head_size);
  return {packed, packed + columns, packed + 2 * columns, packed + 2 * columns + rows};
}

// What one product of tiles needs to know of its queries.
struct QuerySide {
  const TileSpan* span;
  PackedQueries packed;
  const float* lse;
  const float* delta;
  const float* source_lse;  // or null
  const float* d_source_lse;
  float* dq;
  const float* next;  // packed queries that come after these; or null
  int64_t next_floats;
};

// The queries, in columns of their tile, that see some of the keys [key, key + keys), at most kCount.
template <int64_t kCount>
TANDEM_INLINE Columns visible_queries(const TileSpan& span, int64_t key, int64_t keys) {
  int64_t begin = kLimitGroups, end = 0;
  for (int64_t g = 0; g < kLimitGroups; ++g) {
    if (span.least_lo[g] >= key + keys || span.most_hi[g] <= key) continue;
    begin = lower(begin, g);
    end = g + 1;
  }
  if (begin >= end) return {0, 0, false};
  constexpr int64_t kGroupsOfVector = kLanes / kLimitRows;
  begin = begin / kGroupsOfVector * kGroupsOfVector;
  end = (end + kGroupsOfVector - 1) / kGroupsOfVector * kGroupsOfVector;
  bool masked = keys < kCount;
  for (int64_t g = begin; g < end; ++g) masked |= span.most_lo[g] > key || span.least_hi[g] < key + kCount;
  return {begin * kLimitRows, end * kLimitRows, masked};
}

// Lanes of the queries from `column` on that see `key`.
TANDEM_INLINE Mask sees_key(const TileSpan& span, int64_t column, int64_t key) {
#if defined(__AVX512F__)
  __m512i at = _mm512_set1_epi32(static_cast<int>(key));
  return {static_cast<__mmask16>(_mm512_cmple_epi32_mask(_mm512_loadu_si512(span.lo + column), at) &
                                 _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(span.hi + column), at))};
#else
  __m256i at = _mm256_set1_epi32(static_cast<int>(key));
  __m256i lo = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(span.lo + column));
  __m256i hi = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(span.hi + column));
  return {_mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpgt_epi32(lo, at), _mm256_cmpgt_epi32(hi, at)))};
#endif
}

// From scores and dp of one key (row r of its group) to its probabilities and the gradient of its scores, both as left
// operands.
template <class Type, bool kMasked, bool kSource>
TANDEM_INLINE void gradient_row(const BackwardState& s, const QuerySide& q, const Columns& columns, int64_t first_row,
                                int64_t r, int64_t key, float scale) {
  float* scores = s.scores + r * kTile;
  float* d_p = s.d_p + r * kTile;
  F factor = broadcast(scale * kLog2E);
  for (int64_t c = columns.begin; c < columns.end; c += kLanes) {
    F x = load(scores + c) * factor;
    F y = x - load(q.lse + c);
    if constexpr (kMasked) y = select(sees_key(*q.span, c, key), y, broadcast(kNever));
    F p = exp2<Type>(y);
    F ds = p * (load(d_p + c) - load(q.delta + c));
    if constexpr (kSource) {
      F z = x - load(q.source_lse + c);
      if constexpr (kMasked) z = select(sees_key(*q.span, c, key), z, broadcast(kNever));
      ds = fma(exp2<Type>(z), load(q.d_source_lse + c), ds);
    }
    store_left<Type>(s.weights + r * kTile, c / kLanes, p);
    store_left<Type>(s.d_left + (first_row + r) * kTile, c / kLanes, ds);
  }
}

// Makes the gradients of a group of keys ready for dq, which is computed from whole tiles: zero outside the columns,
// and with keys as steps.
template <class Type, int64_t kCount>
TANDEM_INLINE void finish_gradients(const BackwardState& s, const Columns& columns, int64_t first_row) {
  for (int64_t r = first_row; r < first_row + kCount; ++r) {
    for (int64_t c = 0; c < columns.begin; c += kLanes) store_left<Type>(s.d_left + r * kTile, c / kLanes, zero());
    for (int64_t c = columns.end; c < kTile; c += kLanes) store_left<Type>(s.d_left + r * kTile, c / kLanes, zero());
  }
  if constexpr (Type::kPerUnit == 2) {
    for (int64_t r = first_row; r < first_row + kCount; r += 2) {
      const auto* low = reinterpret_cast<const uint16_t*>(s.d_left + r * kTile);
      const auto* high = reinterpret_cast<const uint16_t*>(s.d_left + (r + 1) * kTile);
      for (int64_t c = 0; c < kTile; c += kLanes)
        store(s.d_steps + r / 2 * kTile + c, Type::pairs(load(low + c), load(high + c)));
    }
  }
}

// One group of keys against one tile of queries. False when no query sees any.
template <class Type>
TANDEM_INLINE bool backward_group(const BackwardState& s, const AttentionShape& shape, const QuerySide& q,
                                  int64_t first_row, int64_t key, int64_t keys) {
  Columns columns = visible_queries<Type::kRows>(*q.span, key, keys);
  if (columns.begin == columns.end) return false;
  int64_t units = shape.head_size / Type::kPerUnit, wide = padded(shape.head_size);
  int64_t width = columns.end - columns.begin;
  Type::template product<false>({s.scores + columns.begin, kTile}, {s.k + first_row * units, units, 1},
                                q.packed.q_columns + columns.begin, kTile, width, units);
  Type::template product<false>({s.d_p + columns.begin, kTile}, {s.v + first_row * units, units, 1},
                                q.packed.d_o_columns + columns.begin, kTile, width, units);
  Columns all = in_steps<Type>(columns);
  for (int64_t part = 0; part < Type::kRows; part += Type::kPart) {
    if constexpr (Type::kPart < Type::kRows) {
      columns = visible_queries<Type::kPart>(*q.span, key + part, lower(Type::kPart, keys - part));
    }
    for (int64_t r = part; r < part + Type::kPart; ++r) {
      if (q.source_lse) {
        gradient_row<Type, true, true>(s, q, columns, first_row, r, key + r, shape.scale);
      } else if (columns.masked) {
        gradient_row<Type, true, false>(s, q, columns, first_row, r, key + r, shape.scale);
      } else {
        gradient_row<Type, false, false>(s, q, columns, first_row, r, key + r, shape.scale);
      }
      clear_left<Type>(s.weights + r * kTile, columns, all);
    }
    finish_gradients<Type, Type::kPart>(s, columns, first_row + part);
  }
  int64_t first = all.begin / Type::kPerUnit, steps = (all.end - all.begin) / Type::kPerUnit;
  Type::template product<true>({s.dv + first_row * wide, wide}, {s.weights + first, kTile, 1},
                               q.packed.d_o_rows + first * wide, wide, wide, steps);
  Type::template product<true>({s.dk + first_row * wide, wide}, {s.d_left + first_row * kTile + first, kTile, 1},
                               q.packed.q_rows + first * wide, wide, wide, steps);
  return true;
}

template <class Type>
TANDEM_INLINE void add_to_queries(const BackwardState& s, float* dq, int64_t first_key, int64_t last_key,
                                  int64_t wide) {
  const int64_t first = first_key / Type::kPerUnit, steps = (last_key - first_key) / Type::kPerUnit;
  const float* gradients = s.d_steps + first * kTile;
  if constexpr (Type::kTurnedQueries) {
    constexpr int64_t kStride = kTile / Type::kPerUnit;
    for (int64_t c = 0; c < wide; c += Type::kRows) {
      Type::template product<true>({dq + c * kTile, kTile}, {s.k_rows + c * kStride + first, kStride, 1}, gradients,
                                   kTile, kTile, steps);
    }
  } else {
    for (int64_t c = 0; c < kTile; c += Type::kRows) {
      Type::template product<true>({dq + c * wide, wide}, {gradients + c, 1, kTile}, s.k_rows + first * wide, wide,
                                   wide, steps);
    }
  }
}

template <class Type>
TANDEM_INLINE void backward_pair(const BackwardState& s, const AttentionBackwardTile& job, const QuerySide& q) {
  int64_t wide = padded(job.shape.head_size), rows = job.seen_end - job.begin;
  int64_t first = kTile, last = 0;  // rows of d_steps that hold this pair's gradients
  constexpr int64_t kRows = Type::kRows, kGroups = kTile / kRows;
  for (int64_t row = 0; row < rows; row += kRows) {
    if (q.next) prefetch_part<kSecondCache>(q.next, q.next_floats, row / kRows, kGroups);
    if (backward_group<Type>(s, job.shape, q, row, job.begin + row, lower(kRows, rows - row))) {
      first = lower(first, row);
      last = row + kRows;
    } else {
      Columns none = {0, 0, false};
      if (first < kTile) finish_gradients<Type, Type::kRows>(s, none, row);  // between groups that are seen
    }
  }
  if (first >= last) return;
  add_to_queries<Type>(s, q.dq, first, last, wide);
}

TANDEM_INLINE void store_key_gradient(HeadRows to, bool is_bf16, bool accumulate, const float* from, int64_t begin,
                                      int64_t rows, int64_t head_size, float scale) {
  int64_t wide = padded(head_size);
  F factor = broadcast(scale);
  for (int64_t r = 0; r < rows; ++r) {
    int64_t at = (begin + r) * to.stride;
    for (int64_t i = 0; i < head_size; i += kLanes) {
      int64_t n = lower(kLanes, head_size - i);
      F x = load(from + r * wide + i) * factor;
      if (is_bf16) {
        store(static_cast<uint16_t*>(to.data) + at + i, x, n);
      } else {
        float* out = static_cast<float*>(to.data) + at + i;
        store(out, accumulate ? load(out, n) + x : x, n);
      }
    }
  }
}

template <class Type>
void backward_tile(const AttentionBackwardTile& job) {
  int64_t size = job.shape.head_size, wide = padded(size), rows = job.seen_end - job.begin;
  BackwardState s = backward_state<Type>(job.workspace, size);
  auto from = [&](HeadRows all) {
    return HeadRows{static_cast<typename Type::Element*>(all.data) + job.begin * all.stride, all.stride};
  };
  pack_left<Type>(s.k, from(job.k), rows, size / Type::kPerUnit);
  pack_left<Type>(s.v, from(job.v), rows, size / Type::kPerUnit);
  if constexpr (Type::kTurnedQueries) {
    Type::pack_turned_rows(s.k_rows, from(job.k), rows, size);
  } else {
    pack_rows<Type>(s.k_rows, from(job.k), rows, size);
  }
  memset(s.dk, 0, static_cast<size_t>(2 * kTile * wide) * sizeof(float));  // dk and dv
  int64_t tile_floats = 2 * kTile / Type::kPerUnit * (size + wide);
  for (int64_t h = 0; h < job.group; ++h) {
    for (int64_t t = job.first_tile; t < job.last_tile; ++t) {
      const QueryTile& tile = job.tiles[t];
      for (int32_t i = 0; i < tile.spans; ++i) {
        const TileSpan& span = job.spans[tile.first_span + i];
        if (span.source != job.source || span.begin >= job.end || span.end <= job.begin) continue;
        int64_t at = h * job.statistics_stride + t * kTile;
        const float* packed = job.packed + h * job.packed_head_stride + t * tile_floats;
        QuerySide q = {&span,
                       packed_queries<Type>(packed, size),
                       job.lse + at,
                       job.delta + at,
                       job.source_lse ? job.source_lse + at : nullptr,
                       job.source_lse ? job.d_source_lse + at : nullptr,
                       job.dq + h * job.dq_head_stride + (t - job.dq_first_tile) * kTile * wide,
                       t + 1 < job.last_tile ? packed + tile_floats : nullptr,
                       tile_floats};
        backward_pair<Type>(s, job, q);
      }
    }
  }
  store_key_gradient(job.dk, job.gradient_is_bf16, job.accumulate, s.dk, job.begin, job.end - job.begin, size,
                     job.shape.scale);
  store_key_gradient(job.dv, job.gradient_is_bf16, job.accumulate, s.dv, job.begin, job.end - job.begin, size, 1.0f);
}

template <class Type>
void pack_query_tile(float* packed, float* delta, HeadRows q, HeadRows d_o, HeadRows o, int64_t rows,
                     int64_t head_size) {
  int64_t units = head_size / Type::kPerUnit, row_floats = kTile / Type::kPerUnit * padded(head_size);
  pack_columns<Type>(packed, q, rows, units);
  pack_columns<Type>(packed + units * kTile, d_o, rows, units);
  pack_rows<Type>(packed + 2 * units * kTile, q, rows, head_size);
  pack_rows<Type>(packed + 2 * units * kTile + row_floats, d_o, rows, head_size);
  const auto* a = static_cast<const typename Type::Element*>(d_o.data);
  const auto* b = static_cast<const typename Type::Element*>(o.data);
  for (int64_t r = 0; r < kTile; ++r) {
    F sum = zero();
    for (int64_t i = 0; r < rows && i < head_size; i += kLanes) {
      int64_t n = lower(kLanes, head_size - i);
      sum = fma(load(a + r * d_o.stride + i, n), load(b + r * o.stride + i, n), sum);
    }
    delta[r] = reduce_add(sum);
  }
}

inline void finish_queries(HeadRows dq, bool is_bf16, const float* const* parts, int64_t part_count, int64_t rows,
                           int64_t head_size, float scale) {
  int64_t wide = padded(head_size);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < head_size; i += kLanes) {
      int64_t n = lower(kLanes, head_size - i);
      F sum = zero();
      for (int64_t p = 0; p < part_count; ++p) sum += load(parts[p] + r * wide + i);
      sum *= broadcast(scale);
      if (is_bf16) {
        store(static_cast<uint16_t*>(dq.data) + r * dq.stride + i, sum, n);
      } else {
        store(static_cast<float*>(dq.data) + r * dq.stride + i, sum, n);
      }
    }
  }
}

}  // namespace attention
}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
