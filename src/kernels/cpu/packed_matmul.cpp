#include "kernels/cpu/packed_matmul.h"

#include "kernels/cpu/packed_formats.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

constexpr int kVectors = kPanelWidth / kLanes;

// Blocks come in these sizes; one of fewer rows is padded with zeros.
constexpr int kBlockRows[] = {1, 2, 3, 4, 6, 8, 12};

int64_t padded_rows(int64_t rows) {
  for (int size : kBlockRows) {
    if (rows <= size) return size;
  }
  return rows;
}

template <class Format, class T>
void lay_out_rows(char* block, const T* x, int64_t stride, int64_t rows, int64_t k) {
  constexpr int64_t kWords = Format::kRowWords;
  const int64_t size = padded_rows(rows);
  int32_t words[Format::kMostRows * kWords];
  for (int64_t i = rows * kWords; i < size * kWords; ++i) words[i] = 0;
  for (int64_t begin = 0; begin < k; begin += Format::kGroup) {
    int64_t n = k - begin < Format::kGroup ? k - begin : Format::kGroup;
    int32_t* to = reinterpret_cast<int32_t*>(block) + begin / Format::kGroup * kWords * size;
    if (size == 1) {
      Format::words(to, x + begin, n);
      continue;
    }
    for (int64_t r = 0; r < rows; ++r) Format::words(words + r * kWords, x + r * stride + begin, n);
    for (int64_t i = 0; i < kWords; ++i) {
      for (int64_t r = 0; r < size; ++r) to[i * size + r] = words[r * kWords + i];
    }
  }
}

template <class Format>
void lay_out(char* block, const Matrix& x, int64_t rows, int64_t k) {
  if (x.bf16) return lay_out_rows<Format>(block, static_cast<const uint16_t*>(x.data), x.stride, rows, k);
  lay_out_rows<Format>(block, static_cast<const float*>(x.data), x.stride, rows, k);
}

template <class T, int V>
TANDEM_INLINE void store_row(T* y, const F (&sum)[V], int64_t columns, bool accumulate) {
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    T* to = y + v * kLanes;
    int64_t n = columns - v * kLanes;
    if (n >= kLanes) {
      store(to, accumulate ? load(to) + sum[v] : sum[v]);
    } else if (n > 0) {
      store(to, accumulate ? load(to, n) + sum[v] : sum[v], n);
    }
  }
}

template <class T, int R, int V>
TANDEM_INLINE void store_tile(const PackedTile& t, const F (&sum)[R][V], int64_t first_column) {
  T* y = static_cast<T*>(t.y.data) + first_column;
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    if (r < t.rows) store_row(y + r * t.y.stride, sum[r], t.columns - first_column, t.accumulate);
  }
}

template <int R, int V>
TANDEM_INLINE void scale_outputs(F (&sum)[R][V], const float* scales, int first) {
  if (!scales) return;
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    F scale = load(scales + (first + v) * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) sum[r][v] *= scale;
  }
}

// As many vectors of outputs at a time as leave the sums in registers.
template <class Format>
constexpr int vectors_at_once(int rows) {
  int vectors = kVectors;
  while (vectors > 1 && rows * vectors > Format::kMostSums) vectors /= 2;
  return vectors;
}

template <class Format, int R>
void multiply_block(const PackedTile& t) {
  constexpr int V = vectors_at_once<Format>(R);
  for (int first = 0; first < kVectors; first += V) {
    F sum[R][V];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = zero();
    }
    const char* w = t.panel;
    const char* x = t.block;
    for (int64_t group = 0; group < t.groups; ++group) {
      Format::add_group(sum, w, x, first);
      w += Format::kGroupBytes;
      x += Format::kRowWords * R * kWordBytes;
    }
    scale_outputs(sum, t.scales, first);
    if (t.y.bf16) {
      store_tile<uint16_t>(t, sum, first * kLanes);
    } else {
      store_tile<float>(t, sum, first * kLanes);
    }
  }
}

template <class Format>
void multiply(const PackedTile& t) {
  if (t.rows <= 1) return multiply_block<Format, 1>(t);
  if (t.rows <= 2) return multiply_block<Format, 2>(t);
  if (t.rows <= 3) return multiply_block<Format, 3>(t);
  if (t.rows <= 4) return multiply_block<Format, 4>(t);
  if constexpr (Format::kMostRows > 4) {
    if (t.rows <= 6) return multiply_block<Format, 6>(t);
  }
  if constexpr (Format::kMostRows > 6) {
    if (t.rows <= 8) return multiply_block<Format, 8>(t);
  }
  if constexpr (Format::kMostRows > 8) return multiply_block<Format, 12>(t);
}

template <class Format>
constexpr PackedFormatKernels format_kernels() {
  return {.most_rows = Format::kMostRows,
          .group_words = Format::kRowWords,
          .lay_out = lay_out<Format>,
          .multiply = multiply<Format>};
}

}  // namespace

extern const PackedMatmulKernels kPackedMatmul;
const PackedMatmulKernels kPackedMatmul = {
    .f32 = format_kernels<FormatF32>(),
    .bf16 = format_kernels<FormatBf16>(),
    .int8 = format_kernels<FormatInt8>(),
    .int4 = format_kernels<FormatInt4>(),
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
