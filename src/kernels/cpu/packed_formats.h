// The four formats of packed weights. Each is a struct with
//   kGroup, kGroupBytes, kRowWords  inputs of a group, bytes of it in a panel, words of it per row of a block
//   kMostRows                       rows of the largest block
//   kMostSums                       sums (rows times vectors of outputs) that the registers hold
//   words(to, x, n)                 n <= kGroup activations of one row as kRowWords words
//   add_group(sum, w, x, first)     sum[row][vector] += one group of the block times one group of the panel, of which
//                                   it takes the vectors of outputs from `first` on
// The order of the sums of an output is that of the
// inputs, whatever the numbers of rows and vectors: this makes a row's result independent of its neighbours.
#pragma once

#include "kernels/cpu/packed_matmul.h"
#include "kernels/cpu/simd_bytes.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

#if defined(__AVX512F__)
inline constexpr int kManyRows = 12, kManySums = 24;
// Quantised formats hold each sum twice: the integers of a group and the finished groups.
inline constexpr int kManyIntegerRows = 6, kManyIntegerSums = 12;
#else
inline constexpr int kManyRows = 6, kManySums = 12;
inline constexpr int kManyIntegerRows = 4, kManyIntegerSums = 8;
#endif

// Panels lie one behind the other, so that fetching ahead crosses into the next one. (The hardware stops at each page.)
// Into the second cache: the first one has too few lines on their way at a time to keep memory busy.
inline constexpr int64_t kFetchAhead = 4096;
TANDEM_INLINE void fetch_ahead(const char* w) { _mm_prefetch(w + kFetchAhead, _MM_HINT_T1); }

// Lanes i .. of n elements, zeros after the end.
template <class T>
TANDEM_INLINE F load_padded(const T* x, int64_t i, int64_t n) {
  if (i + kLanes <= n) return load(x + i);
  return i < n ? load(x + i, n - i) : zero();
}

TANDEM_INLINE const char* at(const char* w, int64_t word, int vector) {
  return w + (word * kPanelWidth + vector * kLanes) * kWordBytes;
}

struct FormatF32 {
  static constexpr int64_t kGroup = kGroupF32, kRowWords = kGroup, kGroupBytes = kGroup * kPanelWidth * kWordBytes;
  static constexpr int kMostRows = kManyRows, kMostSums = kManySums;

  template <class T>
  static TANDEM_INLINE void words(void* to, const T* x, int64_t n) {
    for (int64_t i = 0; i < kGroup; i += kLanes) store(static_cast<float*>(to) + i, load_padded(x, i, n));
  }

  template <int R, int V>
  static TANDEM_INLINE void add_group(F (&sum)[R][V], const char* w, const char* x, int first) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < kGroup; ++k) {
      F weight[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        weight[v] = load(reinterpret_cast<const float*>(at(w, k, first + v)));
        fetch_ahead(at(w, k, first + v));
      }
      const float* row = reinterpret_cast<const float*>(x) + k * R;
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        F activation = broadcast(row[r]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] = fma(weight[v], activation, sum[r][v]);
      }
    }
  }
};

#if defined(__AVX512BF16__)

struct FormatBf16 {
  static constexpr int64_t kGroup = kGroupBf16, kRowWords = kGroup / 2;
  static constexpr int64_t kGroupBytes = kGroup / 2 * kPanelWidth * kWordBytes;
  static constexpr int kMostRows = kManyRows, kMostSums = kManySums;

  template <class T>
  static TANDEM_INLINE void words(void* to, const T* x, int64_t n) {
    for (int64_t i = 0; i < kGroup; i += kLanes) store(static_cast<uint16_t*>(to) + i, load_padded(x, i, n));
  }

  template <int R, int V>
  static TANDEM_INLINE void add_group(F (&sum)[R][V], const char* w, const char* x, int first) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < kRowWords; ++k) {
      __m512bh weight[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        weight[v] = reinterpret_cast<__m512bh>(load_words(at(w, k, first + v)).v);
        fetch_ahead(at(w, k, first + v));
      }
      const int32_t* row = reinterpret_cast<const int32_t*>(x) + k * R;
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        __m512bh activation = reinterpret_cast<__m512bh>(broadcast_word(row[r]).v);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v].v = _mm512_dpbf16_ps(sum[r][v].v, weight[v], activation);
      }
    }
  }
};

#else

// Both operands are widened to f32, the activations when they are laid out: the products are exact all the same.
struct FormatBf16 {
  static constexpr int64_t kGroup = kGroupBf16, kRowWords = kGroup;
  static constexpr int64_t kGroupBytes = kGroup / 2 * kPanelWidth * kWordBytes;
  static constexpr int kMostRows = kManyRows, kMostSums = kManySums;

  template <class T>
  static TANDEM_INLINE void words(void* to, const T* x, int64_t n) {
    for (int64_t i = 0; i < kGroup; i += kLanes) {
      store(static_cast<float*>(to) + i, widen(narrow(load_padded(x, i, n))));
    }
  }

  template <int R, int V>
  static TANDEM_INLINE void add_group(F (&sum)[R][V], const char* w, const char* x, int first) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < kGroup; k += 2) {
      const float* row = reinterpret_cast<const float*>(x) + k * R;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        I pair = load_words(at(w, k / 2, first + v));
        fetch_ahead(at(w, k / 2, first + v));
        F even = reinterpret(low_bf16(pair)), odd = reinterpret(high_bf16(pair));
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
          sum[r][v] = fma(even, broadcast(row[r]), sum[r][v]);
          sum[r][v] = fma(odd, broadcast(row[R + r]), sum[r][v]);
        }
      }
    }
  }
};

#endif

inline constexpr int32_t kInfinityBits = 0x7F800000;

// n <= N activations as N bytes; then their scale (f32) and what the integer sums start from (i32): the weights'
// integers are too large by `offset`, which makes the products too large by offset times the sum of the activations'
// integers.
template <int64_t N, class T>
TANDEM_INLINE void quantise(void* to, const T* x, int64_t n, int offset) {
  constexpr int kCount = N / kLanes;
  F value[kCount];
  if (n == N) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) value[i] = load(x + i * kLanes);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) value[i] = load_padded(x, i * kLanes, n);
  }
  // Magnitudes compare as integers, too, and then what is not finite is the largest.
  I most = magnitude_bits(value[0]);
#pragma GCC unroll 8
  for (int i = 1; i < kCount; ++i) most = max(most, magnitude_bits(value[i]));
  int32_t bits = reduce_max(most);
  float top;
  __builtin_memcpy(&top, &bits, sizeof top);
  bool some = top >= kLeastActivation;
  F inverse = broadcast(some ? 127.0f / top : 0.0f);
  I sum = broadcast_word(0);
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
    I integers = to_integer(value[i] * inverse);
    sum = sum + integers;
    store_bytes(static_cast<char*>(to) + i * kLanes, integers);
  }
  float scale = some ? top * (1.0f / 127.0f) : 0.0f;
  if (bits >= kInfinityBits) scale = __builtin_nanf("");
  int32_t start = -offset * reduce_add(sum);
  __builtin_memcpy(static_cast<char*>(to) + N, &scale, sizeof scale);
  __builtin_memcpy(static_cast<char*>(to) + N + kWordBytes, &start, sizeof start);
}

// Where the rows' scales and starting sums of a group stand in a block.
template <int64_t kBytes, int R>
TANDEM_INLINE const float* group_scales(const char* x) {
  return reinterpret_cast<const float*>(x + kBytes * R);
}
template <int64_t kBytes, int R>
TANDEM_INLINE const int32_t* group_starts(const char* x) {
  return reinterpret_cast<const int32_t*>(x + (kBytes + kWordBytes) * R);
}

template <int64_t kBytes, int R, int V>
TANDEM_INLINE void start_sums(I (&sum)[R][V], const char* x) {
  const int32_t* starts = group_starts<kBytes, R>(x);
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    I start = broadcast_word(starts[r]);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = start;
  }
}

struct FormatInt8 {
  static constexpr int64_t kGroup = kGroupInt8, kWords = kGroup / 4, kRowWords = kWords + 2;
  static constexpr int64_t kGroupBytes = kGroup * kPanelWidth;
  static constexpr int kMostRows = kManyIntegerRows, kMostSums = kManyIntegerSums;

  template <class T>
  static TANDEM_INLINE void words(void* to, const T* x, int64_t n) {
    quantise<kGroup>(to, x, n, kOffsetInt8);
  }

  template <int R, int V>
  static TANDEM_INLINE void add_group(F (&sum)[R][V], const char* w, const char* x, int first) {
    I whole[R][V];
    start_sums<kGroup>(whole, x);
#pragma GCC unroll 4
    for (int64_t k = 0; k < kWords; ++k) {
      I weight[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        weight[v] = load_words(at(w, k, first + v));
        fetch_ahead(at(w, k, first + v));
      }
      const int32_t* row = reinterpret_cast<const int32_t*>(x) + k * R;
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        I activation = broadcast_word(row[r]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) whole[r][v] = dot_bytes(whole[r][v], weight[v], activation);
      }
    }
    const float* scales = group_scales<kGroup, R>(x);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      F scale = broadcast(scales[r]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = fma(to_float(whole[r][v]), scale, sum[r][v]);
    }
  }
};

struct FormatInt4 {
  static constexpr int64_t kGroup = kGroupInt4, kWords = kGroup / 4, kRowWords = kWords + 2;
  static constexpr int64_t kScaleBytes = 2 * kPanelWidth, kGroupBytes = kGroup / 2 * kPanelWidth + kScaleBytes;
  static constexpr int kMostRows = kManyIntegerRows, kMostSums = kManyIntegerSums;

  template <class T>
  static TANDEM_INLINE void words(void* to, const T* x, int64_t n) {
    quantise<kGroup>(to, x, n, kOffsetInt4);
  }

  template <int R, int V>
  static TANDEM_INLINE void add_group(F (&sum)[R][V], const char* w, const char* x, int first) {
    I whole[R][V];
    start_sums<kGroup>(whole, x);
    const I low_bits = broadcast_word(0x0F0F0F0F);
#pragma GCC unroll 4
    for (int64_t k = 0; k < kWords / 2; ++k) {
      I low[V], high[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        I both = load_words(at(w + kScaleBytes, k, first + v));
        fetch_ahead(at(w, k, first + v));
        low[v] = both & low_bits;
        high[v] = shift_right_4(both) & low_bits;
      }
      const int32_t* row = reinterpret_cast<const int32_t*>(x) + 2 * k * R;
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        I activation = broadcast_word(row[r]), next = broadcast_word(row[R + r]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          whole[r][v] = dot_small_bytes(dot_small_bytes(whole[r][v], low[v], activation), high[v], next);
        }
      }
    }
    const uint16_t* weight_scales = reinterpret_cast<const uint16_t*>(w) + first * kLanes;
    const float* scales = group_scales<kGroup, R>(x);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      F weight_scale = load(weight_scales + v * kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        sum[r][v] = fma(to_float(whole[r][v]), weight_scale * broadcast(scales[r]), sum[r][v]);
      }
    }
  }
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
