#include "kernels/cpu/product.h"

#include "kernels/cpu/simd_transpose.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

// A tile of sums: its rows times two vectors fill the registers but for those that hold operands.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kTileVectors * kLanes;
constexpr int64_t kWordBytes = 4;
constexpr int64_t kLineBytes = 64;

// How words are read and multiplied.
struct F32 {
  using Element = float;
  static constexpr int64_t kPerWord = 1;
  static TANDEM_INLINE F multiply_add(F a, F b, F c) { return fma(a, b, c); }
  // Words of consecutive elements of one row, the first n elements of them.
  static TANDEM_INLINE F words(const float* x) { return load(x); }
  static TANDEM_INLINE F words(const float* x, int64_t n) { return load(x, n); }
  // Words of n columns of row x; there is no second row.
  template <class Lanes>
  static TANDEM_INLINE F pairs(const float* x, const float*, Lanes lanes) {
    return load(x, lanes);
  }
};

#if defined(__AVX512BF16__)
struct Bf16 {
  using Element = uint16_t;
  static constexpr int64_t kPerWord = 2;
  static TANDEM_INLINE F multiply_add(F a, F b, F c) { return fma_pairs(a, b, c); }
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

TANDEM_INLINE F broadcast_word(const char* p) {
  float word;
  __builtin_memcpy(&word, p, sizeof word);
  return broadcast(word);
}

// Asks for what is needed after the chunk, a few lines at a time: of hundreds at once most would be dropped.
class Fetcher {
 public:
  Fetcher(const Ahead (&ahead)[2], int64_t steps) : now_(ahead[0]), then_(ahead[1]) {
    if (steps > 0) lines_ = (lines(now_) + lines(then_) + steps - 1) / steps;
  }
  TANDEM_INLINE void step() {
    for (int64_t i = 0; i < lines_ && now_.rows > 0; ++i) {
      _mm_prefetch(now_.data + byte_, _MM_HINT_T1);
      byte_ += kLineBytes;
      if (byte_ < now_.bytes) continue;
      byte_ = 0;
      now_.data += now_.row_bytes;
      if (--now_.rows > 0) continue;
      now_ = then_;
      then_.rows = 0;
    }
  }

 private:
  static int64_t lines(const Ahead& a) { return a.rows * ((a.bytes + kLineBytes - 1) / kLineBytes); }
  Ahead now_, then_;
  int64_t byte_ = 0, lines_ = 0;
};

// Steps of the sum between which memory is asked for.
constexpr int64_t kFetchWords = 64;

// sum[R][V] = A B. Word w of row r of A lies at a + r * row_bytes + w * step_bytes.
template <class Type, int R, int V>
TANDEM_INLINE void add_words(F (&sum)[R][V], const char* a, int64_t row_bytes, int64_t step_bytes, const char* b,
                             int64_t words, Fetcher& fetcher) {
  constexpr int kRowsOfBase = 4;  // addresses of four rows: base, and an index times 1, 2 and 3
  constexpr int kBases = (R + kRowsOfBase - 1) / kRowsOfBase;
  const char* base[kBases];
#pragma GCC unroll 4
  for (int i = 0; i < kBases; ++i) base[i] = a + i * kRowsOfBase * row_bytes;
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[r][v] = zero();
  }
  for (int64_t begin = 0; begin < words; begin += kFetchWords) {
    fetcher.step();
    const int64_t count = lower(kFetchWords, words - begin);
#pragma GCC unroll 2
    for (int64_t w = 0; w < count; ++w) {
      F right[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) right[v] = load(reinterpret_cast<const float*>(b) + v * kLanes);
      b += kTileColumns * kWordBytes;
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        F left = broadcast_word(base[r / kRowsOfBase] + r % kRowsOfBase * row_bytes);
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[r][v] = Type::multiply_add(left, right[v], sum[r][v]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < kBases; ++i) base[i] += step_bytes;
    }
  }
}

template <class T, class Lanes>
TANDEM_INLINE void store_sum(T* to, F sum, Lanes lanes, bool accumulate) {
  store(to, accumulate ? load(to, lanes) + sum : sum, lanes);
}

template <class T, int R, int V>
TANDEM_INLINE void store_tile(const Matrix& c, int64_t row, int64_t column, const F (&sum)[R][V], int64_t columns,
                              bool accumulate) {
  T* to = static_cast<T*>(c.data) + row * c.stride + column;
  if (columns >= V * kLanes) {
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r, to += c.stride) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) store_sum(to + v * kLanes, sum[r][v], All{}, accumulate);
    }
    return;
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r, to += c.stride) {
    if constexpr (V == 2) store_sum(to, sum[r][0], All{}, accumulate);
    store_sum(to + (V - 1) * kLanes, sum[r][V - 1], First{columns - (V - 1) * kLanes}, accumulate);
  }
}

// Asks for the sums that a tile is added to.
template <int R, int V>
TANDEM_INLINE void fetch_tile(const Matrix& c, int64_t row, int64_t column) {
  const auto* at = static_cast<const float*>(c.data) + row * c.stride + column;
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    __builtin_prefetch(at + r * c.stride, 1);
    if (V == 2) __builtin_prefetch(at + r * c.stride + kLanes, 1);
  }
}

template <class Type, int R, int V, bool kPacked>
void multiply_tile(const ProductChunk& t, int64_t row, int64_t column, Fetcher& fetcher) {
  constexpr int64_t kStep = kPacked ? kTileRows * kWordBytes : kWordBytes;
  int64_t row_bytes = kPacked ? kWordBytes : t.a_row_bytes;
  // Within a packed panel rows stand side by side; tiles of fewer rows may begin inside it.
  const char* a = kPacked ? t.a + (row / kTileRows * panel_size<kTileRows>(t.words) + row % kTileRows) * kWordBytes
                          : t.a + row * row_bytes;
  if (t.fetch_result) fetch_tile<R, V>(t.c, row, column);
  F sum[R][V];
  add_words<Type>(sum, a, row_bytes, kStep, t.b + column * t.words * kWordBytes, t.words, fetcher);
  if (t.c.bf16) {
    store_tile<uint16_t>(t.c, row, column, sum, t.columns - column, false);
  } else if (t.accumulate) {
    store_tile<float>(t.c, row, column, sum, t.columns - column, true);
  } else {
    store_tile<float>(t.c, row, column, sum, t.columns - column, false);
  }
}

template <class Type, int R, bool kPacked>
void multiply_rows(const ProductChunk& t, int64_t row, Fetcher& fetcher) {
  for (int64_t column = 0; column < t.columns; column += kTileColumns) {
    if (t.columns - column > kLanes) {
      multiply_tile<Type, R, 2, kPacked>(t, row, column, fetcher);
    } else {
      multiply_tile<Type, R, 1, kPacked>(t, row, column, fetcher);
    }
  }
}

template <class Type, bool kPacked>
void multiply_chunk(const ProductChunk& t) {
  int64_t tiles = ((t.rows + kTileRows - 1) / kTileRows) * ((t.columns + kTileColumns - 1) / kTileColumns);
  Fetcher fetcher(t.ahead, tiles * ((t.words + kFetchWords - 1) / kFetchWords));
  int64_t row = 0;
  for (; row + kTileRows <= t.rows; row += kTileRows) multiply_rows<Type, kTileRows, kPacked>(t, row, fetcher);
  if constexpr (kTileRows > 8) {
    if (row + 8 <= t.rows) multiply_rows<Type, 8, kPacked>(t, row, fetcher), row += 8;
  }
  if constexpr (kTileRows > 4) {
    if (row + 4 <= t.rows) multiply_rows<Type, 4, kPacked>(t, row, fetcher), row += 4;
  }
  if (row + 2 <= t.rows) multiply_rows<Type, 2, kPacked>(t, row, fetcher), row += 2;
  if (row < t.rows) multiply_rows<Type, 1, kPacked>(t, row, fetcher);
}

template <class Type>
void multiply(const ProductChunk& t) {
  if (t.a_row_bytes == 0) return multiply_chunk<Type, true>(t);
  multiply_chunk<Type, false>(t);
}

template <class Type>
constexpr ProductKernels kernels() {
  return {.rows = kTileRows,
          .columns = kTileColumns,
          .pack_a = pack<Type, kTileRows>,
          .pack_b = pack<Type, kTileColumns>,
          .multiply = multiply<Type>};
}

}  // namespace

extern const ProductTypes kProduct;
#if defined(__AVX512BF16__)
const ProductTypes kProduct = {.f32 = kernels<F32>(), .bf16 = kernels<Bf16>()};
#else
const ProductTypes kProduct = {.f32 = kernels<F32>(), .bf16 = {}};
#endif

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
