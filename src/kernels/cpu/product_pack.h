// Packing operands of products into panels (product.h): words of 4 bytes, [panel][words][columns].
#pragma once

#include "kernels/cpu/fetcher.h"
#include "kernels/cpu/simd_transpose.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

// How words are read.
struct F32Words {
  using Element = float;
  static constexpr int64_t kPerWord = 1;
  // Words of consecutive elements of one row, the first n elements of them.
  static TANDEM_INLINE F words(const float* x) { return load(x); }
  static TANDEM_INLINE F words(const float* x, int64_t n) { return load(x, n); }
  // Words of n columns of row x; there is no second row.
  template <class Lanes>
  static TANDEM_INLINE F pairs(const float* x, const float*, Lanes lanes) {
    return load(x, lanes);
  }
};

#if defined(__AVX512F__)
struct Bf16Words {
  using Element = uint16_t;
  static constexpr int64_t kPerWord = 2;
  static TANDEM_INLINE F words(const uint16_t* x) { return {_mm512_castsi512_ps(_mm512_loadu_si512(x))}; }
  static TANDEM_INLINE F words(const uint16_t* x, int64_t n) {
    return {_mm512_castsi512_ps(_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << n) - 1), x))};
  }
  static TANDEM_INLINE __m512i half_words(const uint16_t* x, All) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
  }
  static TANDEM_INLINE __m512i half_words(const uint16_t* x, First lanes) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(lanes.n).v, x));
  }
  // Lane i: x[i] and, in its upper half, next[i]; without a next row, zero.
  template <class Lanes>
  static TANDEM_INLINE F pairs(const uint16_t* x, const uint16_t* next, Lanes lanes) {
    __m512i low = half_words(x, lanes);
    if (!next) return {_mm512_castsi512_ps(low)};
    return {_mm512_castsi512_ps(_mm512_or_si512(low, _mm512_castps_si512(load(next, lanes).v)))};
  }
};
#endif

// Words of columns that lie side by side in memory, in panels of kWidth columns. Rows may be far apart: of each, as
// many panels as are in reach are taken at once, and the next ones are asked for. Whole vectors are stored where a
// panel is not a whole number of them: what reaches into the next word is written over by it, and what reaches past the
// last one is the slack.
constexpr int kPanelsAtOnce = 4;
constexpr int64_t kRowsAhead = 32;

template <class Type, int64_t kWidth, int kPanels>
TANDEM_INLINE void pack_word(float* word, int64_t panel_words, const typename Type::Element* row,
                             const typename Type::Element* next) {
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
    for (int64_t c = 0; c < kWidth; c += kLanes) {
      const auto* at = row + p * kWidth + c;
      store(word + p * panel_words + c, Type::pairs(at, next ? at + (next - row) : nullptr, All{}));
    }
  }
}

template <class Type, int64_t kWidth, int kPanels>
TANDEM_INLINE void pack_whole_panels(float* to, int64_t panel_words, const typename Type::Element* from,
                                     int64_t k_stride, int64_t k) {
  int64_t words = k / Type::kPerWord;
  for (int64_t w = 0; w < words; ++w) {
    const auto* row = from + w * Type::kPerWord * k_stride;
    for (int64_t i = 0; i < Type::kPerWord; ++i) {
      const char* ahead = reinterpret_cast<const char*>(row + (i + kRowsAhead) * k_stride);
      for (size_t byte = 0; byte < kPanels * kWidth * sizeof(*row); byte += kLineBytes) {
        _mm_prefetch(ahead + byte, _MM_HINT_T0);
      }
    }
    pack_word<Type, kWidth, kPanels>(to + w * kWidth, panel_words, row, row + k_stride);
  }
  if (words * Type::kPerWord < k) {
    pack_word<Type, kWidth, kPanels>(to + words * kWidth, panel_words, from + words * Type::kPerWord * k_stride,
                                     nullptr);
  }
}

// The last panel, of n <= kWidth columns.
template <class Type, int64_t kWidth>
TANDEM_INLINE void pack_some_columns(float* to, const typename Type::Element* from, int64_t k_stride, int64_t n,
                                     int64_t k) {
  int64_t words = (k + Type::kPerWord - 1) / Type::kPerWord;
  for (int64_t c = 0; c < kWidth; c += kLanes) {
    First lanes{n > c ? lower(n - c, kLanes) : 0};
    const auto* column = from + (lanes.n > 0 ? c : 0);
    for (int64_t w = 0; w < words; ++w) {
      const auto* row = column + w * Type::kPerWord * k_stride;
      bool pair = (w + 1) * Type::kPerWord <= k;
      store(to + w * kWidth + c, Type::pairs(row, pair ? row + k_stride : nullptr, lanes));
    }
  }
}

// Vectors that are loaded whole must end within the row.
template <int64_t kWidth>
TANDEM_INLINE bool whole(int64_t rest, int panels) {
  constexpr int64_t kRead = (kWidth + kLanes - 1) / kLanes * kLanes;
  return rest >= (panels - 1) * kWidth + kRead;
}

// Words from one panel to the next: where a last vector reaches past a panel, it must not reach into the next one.
template <int64_t kWidth>
TANDEM_INLINE int64_t panel_size(int64_t words) {
  return (words + (kWidth % kLanes != 0)) * kWidth;
}

template <class Type, int64_t kWidth>
void pack_rows(float* to, const typename Type::Element* from, int64_t k_stride, int64_t n, int64_t k) {
  int64_t words = (k + Type::kPerWord - 1) / Type::kPerWord, panel_words = panel_size<kWidth>(words), first = 0;
  for (; whole<kWidth>(n - first, kPanelsAtOnce); first += kPanelsAtOnce * kWidth, to += kPanelsAtOnce * panel_words) {
    pack_whole_panels<Type, kWidth, kPanelsAtOnce>(to, panel_words, from + first, k_stride, k);
  }
  for (; whole<kWidth>(n - first, 1); first += kWidth, to += panel_words) {
    pack_whole_panels<Type, kWidth, 1>(to, panel_words, from + first, k_stride, k);
  }
  for (; first < n; first += kWidth, to += panel_words) {
    pack_some_columns<Type, kWidth>(to, from + first, k_stride, lower(n - first, kWidth), k);
  }
}

// The same where words of a column lie one behind the other.
template <class Type, int64_t kWidth>
void pack_columns(float* to, const typename Type::Element* from, int64_t n_stride, int64_t n, int64_t k) {
  int64_t words = (k + Type::kPerWord - 1) / Type::kPerWord;
  for (int64_t first = 0; first < n; first += kWidth, to += panel_size<kWidth>(words)) {
    for (int64_t c = 0; c < kWidth; c += kLanes) {
      int64_t rows = lower(lower(kLanes, kWidth - c), n - first - c);
      for (int64_t w = 0; w < words; w += kLanes) {
        const auto* at = from + (first + c) * n_stride + w * Type::kPerWord;
        int64_t rest = k - w * Type::kPerWord;
        F block[kLanes];
        if (rows >= kLanes && rest >= kLanes * Type::kPerWord) {
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i) block[i] = Type::words(at + i * n_stride);
        } else {
          rest = lower(rest, kLanes * Type::kPerWord);
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i) block[i] = i < rows ? Type::words(at + i * n_stride, rest) : zero();
        }
        transpose(block);
        float* out = to + w * kWidth + c;
        if (words - w >= kLanes) {
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i) store(out + i * kWidth, block[i]);
        } else {
          for (int i = 0; i < words - w; ++i) store(out + i * kWidth, block[i]);
        }
      }
    }
  }
}

template <class Type, int64_t kWidth>
void pack(char* to, const void* from, int64_t n_stride, int64_t k_stride, int64_t n, int64_t k) {
  auto* words = reinterpret_cast<float*>(to);
  const auto* elements = static_cast<const typename Type::Element*>(from);
  if (n_stride == 1) return pack_rows<Type, kWidth>(words, elements, k_stride, n, k);
  pack_columns<Type, kWidth>(words, elements, n_stride, n, k);
}

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
