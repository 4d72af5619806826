// A tile of queries against all keys that it sees, with a running maximum (Dao et al. 2022).
//
// The softmax is computed in powers of two against an integer level M >= every score seen so far: rescaling is exact,
// and what the probabilities round to does not depend on the order of the keys.
#pragma once

#include "kernels/cpu/span_attention_tile.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace attention {

// Of one tile, in the worker's memory.
struct ForwardState {
  float* q;        // left operand [64, units]
  float* scores;   // [Type::kRows, 64]: scores, then probabilities
  float* weights;  // [Type::kRows, 64] as a left operand
  float* sums;     // [64, kLanes]: the sum of probabilities, lane by lane
  float* level;    // [64]
  float* out;      // [64, P]: not yet divided by the sum
  float* all_sum;  // [64], all_level, all_out: what earlier sources gave, when each source has its own log-sum-exp
  float* all_level;
  float* all_out;
};

template <class Type>
TANDEM_INLINE int64_t forward_floats(int64_t head_size) {
  int64_t wide = padded(head_size);
  return kTile * head_size + 2 * Type::kRows * kTile + kTile * kLanes + 3 * kTile + 2 * kTile * wide;
}

template <class Type>
TANDEM_INLINE ForwardState forward_state(float* memory, int64_t head_size) {
  int64_t wide = padded(head_size);
  ForwardState s;
  s.out = memory;
  s.all_out = s.out + kTile * wide;
  s.sums = s.all_out + kTile * wide;
  s.scores = s.sums + kTile * kLanes;
  s.weights = s.scores + Type::kRows * kTile;
  s.level = s.weights + Type::kRows * kTile;
  s.all_sum = s.level + kTile;
  s.all_level = s.all_sum + kTile;
  s.q = s.all_level + kTile;
  return s;
}

// The limits of a number of queries, as TileSpan has them for each kLimitRows.
struct Limits {
  int64_t least_lo, most_hi, most_lo, least_hi;
};
template <int64_t kCount>
TANDEM_INLINE Limits limits_of(const TileSpan& span, int64_t first_row) {
  const int64_t g = first_row / kLimitRows;
  Limits all = {span.least_lo[g], span.most_hi[g], span.most_lo[g], span.least_hi[g]};
  if constexpr (kCount > kLimitRows) {
    for (int64_t i = g + 1; i < g + kCount / kLimitRows; ++i) {
      all.most_lo = upper(all.most_lo, span.most_lo[i]);
      all.least_hi = lower(all.least_hi, span.least_hi[i]);
      if (span.least_lo[i] >= span.most_hi[i]) continue;  // none of them sees any
      all.least_lo = all.least_lo < all.most_hi ? lower(all.least_lo, span.least_lo[i]) : span.least_lo[i];
      all.most_hi = upper(all.most_hi, span.most_hi[i]);
    }
  }
  return all;
}

// The part of a key tile that kCount queries see.
template <int64_t kCount>
TANDEM_INLINE Columns visible_columns(const TileSpan& span, int64_t first_row, int64_t first_key) {
  Limits limits = limits_of<kCount>(span, first_row);
  int64_t lo = upper(limits.least_lo - first_key, 0), hi = lower(limits.most_hi - first_key, kTile);
  if (lo >= hi) return {0, 0, false};
  int64_t begin = lo / kLanes * kLanes, end = (hi + kLanes - 1) / kLanes * kLanes;
  return {begin, end, limits.most_lo - first_key > begin || limits.least_hi - first_key < end};
}

// 2^(a - b) for integers a <= b, -infinity among them.
TANDEM_INLINE float power_of_difference(float a, float b) {
  float difference = a - b;
  if (!(difference > -126.0f)) return 0.0f;
  int32_t bits = (static_cast<int32_t>(difference) + 127) << 23;
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

TANDEM_INLINE void raise_level(const ForwardState& s, int64_t row, int64_t wide, float most) {
  float level = __builtin_ceilf(most);
  F factor = broadcast(power_of_difference(s.level[row], level));
  s.level[row] = level;
  store(s.sums + row * kLanes, load(s.sums + row * kLanes) * factor);
  float* out = s.out + row * wide;
  for (int64_t i = 0; i < wide; i += kLanes) store(out + i, load(out + i) * factor);
}

// Scores of a row become probabilities (left operand), and its sum grows.
template <class Type, bool kMasked>
TANDEM_INLINE void softmax_row(const ForwardState& s, const AttentionShape& shape, int64_t row, int64_t r,
                               const Columns& columns, int64_t lo, int64_t hi, int64_t wide) {
  float* scores = s.scores + r * kTile;
  F factor = broadcast(shape.scale * kLog2E);
  F most = broadcast(-HUGE_VALF);
  for (int64_t c = columns.begin; c < columns.end; c += kLanes) {
    F x = load(scores + c) * factor;
    if constexpr (kMasked) x = select(visible(c, lo, hi), x, broadcast(-HUGE_VALF));
    store(scores + c, x);
    most = max(most, x);
  }
  if (bits(less(broadcast(s.level[row]), most))) raise_level(s, row, wide, reduce_max(most));
  F level = broadcast(s.level[row]);
  F sum = load(s.sums + row * kLanes);
  for (int64_t c = columns.begin; c < columns.end; c += kLanes) {
    F x = load(scores + c) - level;
    if constexpr (kMasked) x = select(visible(c, lo, hi), x, broadcast(kNever));
    F p = exp2<Type>(x);
    sum += p;
    store_left<Type>(s.weights + r * kTile, c / kLanes, p);
  }
  store(s.sums + row * kLanes, sum);
}

template <class Type>
TANDEM_INLINE void forward_group(const ForwardState& s, const AttentionForwardRows& job, const TileSpan& span,
                                 int64_t first_row, int64_t first_key, const float* k_columns, const float* v_rows) {
  Columns columns = visible_columns<Type::kRows>(span, first_row, first_key);
  if (columns.begin == columns.end) return;
  int64_t units = job.shape.head_size / Type::kPerUnit, wide = padded(job.shape.head_size);
  Type::template product<false>({s.scores + columns.begin, kTile}, {s.q + first_row * units, units, 1},
                                k_columns + columns.begin, kTile, columns.end - columns.begin, units);
  Columns steps = in_steps<Type>(columns);
  for (int64_t part = 0; part < Type::kRows; part += Type::kPart) {
    if constexpr (Type::kPart < Type::kRows) {
      columns = visible_columns<Type::kPart>(span, first_row + part, first_key);
    }
    for (int64_t r = part; r < part + Type::kPart; ++r) {
      int64_t row = first_row + r;
      if (columns.masked) {
        softmax_row<Type, true>(s, job.shape, row, r, columns, span.lo[row] - first_key, span.hi[row] - first_key,
                                wide);
      } else {
        softmax_row<Type, false>(s, job.shape, row, r, columns, 0, 0, wide);
      }
      clear_left<Type>(s.weights + r * kTile, columns, steps);
    }
  }
  int64_t first = steps.begin / Type::kPerUnit, last = steps.end / Type::kPerUnit;
  Type::template product<true>({s.out + first_row * wide, wide}, {s.weights + first, kTile, 1}, v_rows + first * wide,
                               wide, wide, last - first);
}

TANDEM_INLINE void clear(const ForwardState& s, int64_t rows, int64_t wide) {
  memset(s.out, 0, static_cast<size_t>(rows * wide) * sizeof(float));
  memset(s.sums, 0, static_cast<size_t>(rows * kLanes) * sizeof(float));
  for (int64_t r = 0; r < rows; ++r) s.level[r] = -HUGE_VALF;
}

TANDEM_INLINE float log_sum(float level, float sum) {
  if (level == -HUGE_VALF) return level;
  return static_cast<float>((level + ::log2(static_cast<double>(sum))) * 0.69314718055994530942);
}

// Ends a source that has a log-sum-exp of its own: writes it and adds the source to the others.
TANDEM_INLINE void merge_source(const ForwardState& s, const AttentionForwardRows& job, int32_t source, int64_t wide) {
  for (int64_t r = 0; r < job.rows; ++r) {
    float sum = reduce_add(load(s.sums + r * kLanes));
    job.source_lse[source * job.source_stride + r * job.lse_stride] = log_sum(s.level[r], sum);
    float level = s.level[r] > s.all_level[r] ? s.level[r] : s.all_level[r];
    float mine = power_of_difference(s.level[r], level), others = power_of_difference(s.all_level[r], level);
    s.all_level[r] = level;
    s.all_sum[r] = s.all_sum[r] * others + sum * mine;
    for (int64_t i = r * wide; i < (r + 1) * wide; i += kLanes) {
      store(s.all_out + i, fma(load(s.out + i), broadcast(mine), load(s.all_out + i) * broadcast(others)));
    }
  }
}

template <class Type>
TANDEM_INLINE void store_output(const AttentionForwardRows& job, const float* out, int64_t r, float level, float sum) {
  auto* o = static_cast<typename Type::Element*>(job.o.data) + r * job.o.stride;
  F factor = broadcast(level == -HUGE_VALF ? 0.0f : 1.0f / sum);
  int64_t i = 0, size = job.shape.head_size;
  for (; i + kLanes <= size; i += kLanes) store(o + i, load(out + i) * factor);
  if (i < size) store(o + i, load(out + i) * factor, size - i);
  job.lse[r * job.lse_stride] = log_sum(level, sum);
}

// Before the first key; `rows` may be more than there are queries.
TANDEM_INLINE void begin_rows(const ForwardState& s, const AttentionForwardRows& job, int64_t rows, int64_t wide) {
  clear(s, rows, wide);
  if (!job.source_lse) return;
  memset(s.all_out, 0, static_cast<size_t>(rows * wide) * sizeof(float));
  for (int64_t r = 0; r < rows; ++r) {
    s.all_sum[r] = 0;
    s.all_level[r] = -HUGE_VALF;
  }
}

// After span i.
TANDEM_INLINE void end_span(const ForwardState& s, const AttentionForwardRows& job, int32_t i, int64_t rows,
                            int64_t wide) {
  if (!job.source_lse) return;
  int32_t source = job.spans[i].source;
  if (i + 1 < job.span_count && job.spans[i + 1].source == source) return;
  merge_source(s, job, source, wide);
  clear(s, rows, wide);
}

template <class Type>
TANDEM_INLINE void end_rows(const ForwardState& s, const AttentionForwardRows& job, int64_t wide) {
  for (int64_t r = 0; r < job.rows; ++r) {
    if (job.source_lse) {
      store_output<Type>(job, s.all_out + r * wide, r, s.all_level[r], s.all_sum[r]);
    } else {
      store_output<Type>(job, s.out + r * wide, r, s.level[r], reduce_add(load(s.sums + r * kLanes)));
    }
  }
}

template <class Type>
void forward_tile(const AttentionForwardTile& tile) {
  const AttentionForwardRows& job = tile.rows;
  int64_t size = job.shape.head_size, wide = padded(size), units = size / Type::kPerUnit;
  int64_t k_floats = units * kTile, v_floats = kTile / Type::kPerUnit * wide;  // of a tile of keys
  constexpr int64_t kGroups = kTile / Type::kRows;
  ForwardState s = forward_state<Type>(job.workspace, size);
  pack_left<Type>(s.q, job.q, job.rows, units);
  begin_rows(s, job, kTile, wide);
  for (int32_t i = 0; i < job.span_count; ++i) {
    const TileSpan& span = job.spans[i];
    const PackedKeys& keys = tile.sources[span.source];
    for (int64_t t = span.begin / kTile; t * kTile < span.end; ++t) {
      const float* k = keys.k_columns + t * k_floats;
      const float* v = keys.v_rows + t * v_floats;
      bool more = (t + 1) * kTile < span.end;
      for (int64_t row = 0; row < job.rows; row += Type::kRows) {
        if (more) {
          prefetch_part<kFirstCache>(k + k_floats, k_floats, row / Type::kRows, kGroups);
          prefetch_part<kFirstCache>(v + v_floats, v_floats, row / Type::kRows, kGroups);
        }
        forward_group<Type>(s, job, span, row, t * kTile, k, v);
      }
    }
    end_span(s, job, i, kTile, wide);
  }
  end_rows<Type>(s, job, wide);
}

}  // namespace attention
}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
