// One query against keys and values in place, for decoding: they are read once, in the order in which they lie in
// memory, for all heads together, and what comes next is asked for while the present is worked on.
//
// What a part of the keys gives is [heads, W] sums of values, a level and a sum of probabilities per head (as in
// span_attention_forward.h); the parts of a query are merged in their order. Levels are integers, so that rescaling is
// exact. Keys are taken in groups of kLanes that begin at multiples of kLanes of the source's rows: sums have the same
// order wherever the tiles of a cache lie.
#pragma once

#include "kernels/cpu/span_attention_forward.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace attention {

inline constexpr int64_t kWideBlock = 32;  // features per step of the sums of values
TANDEM_INLINE int64_t part_width(int64_t head_size) { return (head_size + kWideBlock - 1) / kWideBlock * kWideBlock; }

TANDEM_INLINE int64_t part_floats(int64_t heads) { return heads * (2 * kTile + kLanes + kLanes * kLanes); }

TANDEM_INLINE ForwardState part_state(const AttentionPart& part) {
  ForwardState s{};
  s.scores = part.workspace;
  s.weights = s.scores + part.heads * kTile;
  s.sums = s.weights + part.heads * kTile;
  s.level = part.level;
  s.out = part.out;
  return s;
}

// Lane j: the sum of the lanes of x[j].
TANDEM_INLINE F sum_each(const F (&x)[kLanes]) {
#if defined(__AVX512F__)
  __m512 pairs[8], fours[4];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    pairs[i] =
        _mm512_add_ps(_mm512_unpacklo_ps(x[2 * i].v, x[2 * i + 1].v), _mm512_unpackhi_ps(x[2 * i].v, x[2 * i + 1].v));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // within each quarter: the sums of four vectors
    __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
    fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  auto add_quarters = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
  };
  return {add_quarters(add_quarters(fours[0], fours[1]), add_quarters(fours[2], fours[3]))};
#else
  auto four = [&](int i) {
    return _mm256_hadd_ps(_mm256_hadd_ps(x[i].v, x[i + 1].v), _mm256_hadd_ps(x[i + 2].v, x[i + 3].v));
  };
  __m256 low = four(0), high = four(4);
  return {_mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31))};
#endif
}

// Keys or values of all key heads, from row 0 of a tile on, of which the rows [lo, hi) may be read.
template <class Element>
struct TileRows {
  const Element* data;
  int64_t stride;
  int64_t lo;
  int64_t hi;
  TANDEM_INLINE const Element* row(int64_t j) const { return data + lower(upper(j, lo), hi - 1) * stride; }
};

// Rows follow each other in memory, and the hardware, which fetches ahead too, stops at each page. Into the second
// cache: the first one has too few lines on their way at a time to keep memory busy.
inline constexpr int64_t kRowsAhead = 6144;  // bytes
template <class Element>
TANDEM_INLINE void fetch_rows(const Element* row, int64_t count, int64_t ahead = kRowsAhead) {
  const char* at = reinterpret_cast<const char*>(row) + ahead;
#pragma GCC unroll 4
  for (int64_t i = 0; i < count * static_cast<int64_t>(sizeof(Element)); i += 64) _mm_prefetch(at + i, _MM_HINT_T1);
}

// The product of one head of a query and a key, lane by lane.
TANDEM_INLINE F partial_product(F32, const float* q, const float* k, int64_t head_size) {
  F sum = zero();
#pragma GCC unroll 8
  for (int64_t i = 0; i < head_size; i += kLanes) {
    int64_t n = lower(kLanes, head_size - i);
    sum = fma(load(q + i, n), load(k + i, n), sum);
  }
  return sum;
}

// out[head_size] += weights[0..count-1] times the values of `count` <= 4 keys.
TANDEM_INLINE void add_values(F32, float* out, const float* weights, const float* const (&v)[4], int64_t count,
                              int64_t head_size) {
  F left[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) left[j] = j < count ? broadcast(weights[j]) : zero();
#pragma GCC unroll 8
  for (int64_t i = 0; i < head_size; i += kLanes) {
    int64_t n = lower(kLanes, head_size - i);
    F sum = load(out + i);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum = fma(left[j], load(v[j] + i, n), sum);
    store(out + i, sum);
  }
}

TANDEM_INLINE void order_features(F32, float*, int64_t) {}

#if defined(__AVX512BF16__)

TANDEM_INLINE __m512i load_words(const uint16_t* p, int64_t n) {
  if (n >= kWideBlock) return _mm512_loadu_si512(p);
  return _mm512_maskz_loadu_epi16((__mmask32{1} << n) - 1, p);
}

TANDEM_INLINE F partial_product(Bf16, const uint16_t* q, const uint16_t* k, int64_t head_size) {
  F sum = zero();
#pragma GCC unroll 4
  for (int64_t i = 0; i < head_size; i += kWideBlock) {
    auto left = reinterpret_cast<__m512bh>(load_words(q + i, head_size - i));
    auto right = reinterpret_cast<__m512bh>(load_words(k + i, head_size - i));
    sum.v = _mm512_dpbf16_ps(sum.v, left, right);
  }
  return sum;
}

// The features of a block of 32 stand in `out` as the rows of two keys are interleaved: within each quarter the first
// four, then the last four; order_features() puts them right.
TANDEM_INLINE void add_values(Bf16, float* out, const float* weights, const uint16_t* const (&v)[4], int64_t count,
                              int64_t head_size) {
  int32_t pairs[2];
  memcpy(pairs, weights, sizeof pairs);  // of bf16; those of keys that are not there are zero
  auto first = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pairs[0]));
  auto second = reinterpret_cast<__m512bh>(_mm512_set1_epi32(count > 2 ? pairs[1] : 0));
#pragma GCC unroll 4
  for (int64_t i = 0; i < head_size; i += kWideBlock) {
    __m512i x[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) x[j] = load_words(v[j] + i, head_size - i);
    __m512 low = load(out + i).v, high = load(out + i + kLanes).v;
    low = _mm512_dpbf16_ps(low, reinterpret_cast<__m512bh>(_mm512_unpacklo_epi16(x[0], x[1])), first);
    high = _mm512_dpbf16_ps(high, reinterpret_cast<__m512bh>(_mm512_unpackhi_epi16(x[0], x[1])), first);
    low = _mm512_dpbf16_ps(low, reinterpret_cast<__m512bh>(_mm512_unpacklo_epi16(x[2], x[3])), second);
    high = _mm512_dpbf16_ps(high, reinterpret_cast<__m512bh>(_mm512_unpackhi_epi16(x[2], x[3])), second);
    store(out + i, {low});
    store(out + i + kLanes, {high});
  }
}

TANDEM_INLINE void order_features(Bf16, float* out, int64_t wide) {
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i second = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  for (int64_t i = 0; i < wide; i += kWideBlock) {
    F low = load(out + i), high = load(out + i + kLanes);
    store(out + i, {_mm512_permutex2var_ps(low.v, first, high.v)});
    store(out + i + kLanes, {_mm512_permutex2var_ps(low.v, second, high.v)});
  }
}

#endif

// Scores of all heads with the keys first .. first + kLanes - 1.
template <class Type, int64_t kSize, class Element>
TANDEM_INLINE void score_keys(const ForwardState& s, const AttentionPart& part, const TileRows<Element>& keys,
                              int64_t first) {
  const int64_t size = kSize > 0 ? kSize : part.shape.head_size, key_heads = part.heads / part.group;
  const auto* q = static_cast<const Element*>(part.q);
  float* partial = s.sums + part.heads * kLanes;  // [heads, keys, kLanes]
  for (int64_t j = 0; j < kLanes; ++j) {
    const Element* row = keys.row(first + j);
    for (int64_t g = 0; g < key_heads; ++g, row += size) {
      fetch_rows(row, size);
      for (int64_t h = g * part.group; h < (g + 1) * part.group; ++h) {
        store(partial + (h * kLanes + j) * kLanes, partial_product(Type{}, q + h * size, row, size));
      }
    }
  }
  for (int64_t h = 0; h < part.heads; ++h) {
    F sum[kLanes];
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) sum[j] = load(partial + (h * kLanes + j) * kLanes);
    store(s.scores + h * kTile + first, sum_each(sum));
  }
}

// Adds the values of the keys first .. first + 3 (first a multiple of 4) to the sums of all heads.
template <class Type, int64_t kSize, class Element>
TANDEM_INLINE void add_four(const ForwardState& s, const AttentionPart& part, const TileRows<Element>& values,
                            int64_t first) {
  const int64_t size = kSize > 0 ? kSize : part.shape.head_size, wide = part_width(size),
                key_heads = part.heads / part.group;
  const Element* rows[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) rows[j] = values.row(first + j);
  for (int64_t g = 0; g < key_heads; ++g) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) fetch_rows(rows[j], size);
    for (int64_t h = g * part.group; h < (g + 1) * part.group; ++h) {
      const auto* weights = reinterpret_cast<const Element*>(s.weights + h * kTile) + first;
      add_values(Type{}, s.out + h * wide, reinterpret_cast<const float*>(weights), rows, values.hi - first, size);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) rows[j] += size;
  }
}

// The keys of one tile of one source.
template <class Type, int64_t kSize>
TANDEM_INLINE void add_stretch(const ForwardState& s, const AttentionPart& part, const KeyStretch& stretch) {
  using Element = typename Type::Element;
  const int64_t tile = stretch.begin / kTile * kTile, lo = stretch.begin - tile, hi = stretch.end - tile;
  const Columns columns = {lo / kLanes * kLanes, (hi + kLanes - 1) / kLanes * kLanes, true};
  const int64_t wide = part_width(part.shape.head_size);
  TileRows<Element> keys{static_cast<const Element*>(part.k.data) + tile * part.k.stride, part.k.stride, lo, hi};
  TileRows<Element> values{static_cast<const Element*>(part.v.data) + tile * part.v.stride, part.v.stride, lo, hi};
  for (int64_t c = columns.begin; c < columns.end; c += kLanes) score_keys<Type, kSize>(s, part, keys, c);
  fetch_rows(values.row(lo), kRowsAhead / static_cast<int64_t>(sizeof(Element)), 0);
  for (int64_t h = 0; h < part.heads; ++h) softmax_row<Type, true>(s, part.shape, h, h, columns, lo, hi, wide);
  for (int64_t j = lo / 4 * 4; j < hi; j += 4) add_four<Type, kSize>(s, part, values, j);
}

// kSize: the head size, where loops over it are worth unrolling; or 0.
template <class Type, int64_t kSize>
void add_stretches(const ForwardState& s, const AttentionPart& part) {
  for (int32_t i = 0; i < part.count; ++i) add_stretch<Type, kSize>(s, part, part.stretches[i]);
}

template <class Type>
void forward_part(const AttentionPart& part) {
  const int64_t size = part.shape.head_size, wide = part_width(size);
  ForwardState s = part_state(part);
  clear(s, part.heads, wide);
  if (size == 64) {
    add_stretches<Type, 64>(s, part);
  } else if (size == 128) {
    add_stretches<Type, 128>(s, part);
  } else {
    add_stretches<Type, 0>(s, part);
  }
  for (int64_t h = 0; h < part.heads; ++h) {
    order_features(Type{}, part.out + h * wide, wide);
    part.sum[h] = reduce_add(load(s.sums + h * kLanes));
  }
}

// Level and sum of head h over the parts of one source, or (source < 0) of all.
struct LevelAndSum {
  float level;
  float sum;
};
TANDEM_INLINE LevelAndSum merge_sums(const AttentionParts& query, int64_t h, int32_t source) {
  LevelAndSum all{-HUGE_VALF, 0};
  for (int64_t p = 0; p < query.count; ++p) {
    const AttentionPart& part = query.parts[p];
    if (source < 0 || part.source == source) all.level = part.level[h] > all.level ? part.level[h] : all.level;
  }
  for (int64_t p = 0; p < query.count; ++p) {
    const AttentionPart& part = query.parts[p];
    if (source < 0 || part.source == source) all.sum += part.sum[h] * power_of_difference(part.level[h], all.level);
  }
  return all;
}

template <class Type>
void merge_parts(const AttentionParts& query) {
  const int64_t size = query.shape.head_size, wide = part_width(size);
  for (int64_t h = 0; h < query.heads; ++h) {
    LevelAndSum all = merge_sums(query, h, -1);
    query.lse[h * query.lse_stride] = log_sum(all.level, all.sum);
    for (int64_t p = 0; query.source_lse && p < query.count; ++p) {
      int32_t source = query.parts[p].source;
      LevelAndSum own = merge_sums(query, h, source);
      query.source_lse[source * query.source_stride + h * query.lse_stride] = log_sum(own.level, own.sum);
    }
    F factor = broadcast(all.level == -HUGE_VALF ? 0.0f : 1.0f / all.sum);
    auto* o = static_cast<typename Type::Element*>(query.o) + h * size;
    for (int64_t i = 0; i < size; i += kLanes) {
      F sum = zero();
      for (int64_t p = 0; p < query.count; ++p) {
        const AttentionPart& part = query.parts[p];
        sum = fma(load(part.out + h * wide + i), broadcast(power_of_difference(part.level[h], all.level)), sum);
      }
      store(o + i, sum * factor, lower(kLanes, size - i));
    }
  }
}

}  // namespace attention
}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
