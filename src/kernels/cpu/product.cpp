#include "kernels/cpu/product.h"

#include "kernels/cpu/product_pack.h"

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

// How words are multiplied.
struct F32 : F32Words {
  static TANDEM_INLINE F multiply_add(F a, F b, F c) { return fma(a, b, c); }
};

#if defined(__AVX512BF16__)
struct Bf16 : Bf16Words {
  static TANDEM_INLINE F multiply_add(F a, F b, F c) { return fma_pairs(a, b, c); }
};
#endif

TANDEM_INLINE F broadcast_word(const char* p) {
  float word;
  __builtin_memcpy(&word, p, sizeof word);
  return broadcast(word);
}

// Steps of the sum between which memory is asked for.
constexpr int64_t kFetchWords = 64;

// sum[R][V] = A B. Word w of row r of A lies at a + r * row_bytes + w * step_bytes.
template <class Type, int R, int V>
TANDEM_INLINE void add_words(F (&sum)[R][V], const char* a, int64_t row_bytes, int64_t step_bytes, const char* b,
                             int64_t words, Fetcher<>& fetcher) {
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
TANDEM_INLINE void store_sum(T* to, F sum, const float* start, Lanes lanes) {
  store(to, start ? load(start, lanes) + sum : sum, lanes);
}

// start: null, or f32 sums that are added.
template <class T, int R, int V>
TANDEM_INLINE void store_tile(const Matrix& c, int64_t row, int64_t column, const F (&sum)[R][V], int64_t columns,
                              const float* start, int64_t start_stride) {
  T* to = static_cast<T*>(c.data) + row * c.stride + column;
  if (start) start += row * start_stride + column;
  auto next = [&] {
    to += c.stride;
    if (start) start += start_stride;
  };
  if (columns >= V * kLanes) {
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r, next()) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) store_sum(to + v * kLanes, sum[r][v], start ? start + v * kLanes : nullptr, All{});
    }
    return;
  }
  constexpr int64_t kLast = (V - 1) * kLanes;
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r, next()) {
    if constexpr (V == 2) store_sum(to, sum[r][0], start, All{});
    store_sum(to + kLast, sum[r][V - 1], start ? start + kLast : nullptr, First{columns - kLast});
  }
}

// Asks for the sums that a tile is added to.
template <int R, int V>
TANDEM_INLINE void fetch_tile(const float* start, int64_t stride) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    __builtin_prefetch(start + r * stride, 1);
    if (V == 2) __builtin_prefetch(start + r * stride + kLanes, 1);
  }
}

template <class Type, int R, int V, bool kPacked>
void multiply_tile(const ProductChunk& t, int64_t row, int64_t column, Fetcher<>& fetcher) {
  constexpr int64_t kStep = kPacked ? kTileRows * kWordBytes : kWordBytes;
  int64_t row_bytes = kPacked ? kWordBytes : t.a_row_bytes;
  // Within a packed panel rows stand side by side; tiles of fewer rows may begin inside it.
  const char* a = kPacked ? t.a + (row / kTileRows * panel_size<kTileRows>(t.words) + row % kTileRows) * kWordBytes
                          : t.a + row * row_bytes;
  if (t.fetch_start) fetch_tile<R, V>(t.start + row * t.start_stride + column, t.start_stride);
  F sum[R][V];
  add_words<Type>(sum, a, row_bytes, kStep, t.b + column * t.words * kWordBytes, t.words, fetcher);
  if (t.c.bf16) {
    store_tile<uint16_t>(t.c, row, column, sum, t.columns - column, t.start, t.start_stride);
  } else if (t.start) {
    store_tile<float>(t.c, row, column, sum, t.columns - column, t.start, t.start_stride);
  } else {
    store_tile<float>(t.c, row, column, sum, t.columns - column, nullptr, 0);
  }
}

template <class Type, int R, bool kPacked>
void multiply_rows(const ProductChunk& t, int64_t row, Fetcher<>& fetcher) {
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
  Fetcher<> fetcher(t.ahead[0], t.ahead[1], tiles * ((t.words + kFetchWords - 1) / kFetchWords));
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

// Sizes and costs are measured. Blocks keep panels of B in the first and second cache. Sums that are rounded to bf16
// are formed in one go.
constexpr ProductFigures kFigures = {.whole_words = 448,
                                     .block_words = 256,
                                     .b_bytes = 128 << 10,
                                     .a_bytes = 256 << 10,
                                     .sums_bytes = INT64_MAX,
                                     .packs_ahead = false,
                                     .bf16_in_blocks = false,
                                     .pack_a = 8,
                                     .read_a = 2,
                                     .pack_b = 5.4,
                                     .pack_turned_b = 6.4,
                                     .hand_out = 5e4};

template <class Type>
constexpr ProductKernels kernels() {
  return {.rows = kTileRows,
          .columns = kTileColumns,
          .word_unit = 1,
          .figures = kFigures,
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
