// Products of bf16 matrices by tiles: registers of 16 rows of 64 bytes, and an instruction that adds the product of two
// of them to a third. A template over the type that holds the instructions: cpu/amx/product.cpp has the processor's
// own, the tests have an emulation that runs on any machine with AVX-512 and refuses what a processor would refuse.
//
//   Tiles::configure(const TileConfig&)             Tiles::release()
//   Tiles::zero<t>()                                Tiles::load<t>(from, row_stride)      strides in bytes
//   Tiles::multiply<sum, a, b>()                    Tiles::store<t>(to, row_stride)
//
// Sums of 32 x 32 lie in four tiles; a step adds 32 elements of the sum, from two tiles of A [16 rows, 16 words] and
// two of B [16 words, 16 columns]: it loads as many tiles as it multiplies. A is read where it lies, or from packed
// panels
//   [panel of 16 rows][step][16 rows][16 words]
// B from panels [words][32 columns]. Panels are filled up with zeros to whole steps; where A is read in place, the
// words of the last step are copied to where zeros follow, since what lies behind a row may be NaN.
//
// The tile unit needs few instructions: between its steps, vectors round and store the sums of the tiles before and
// pack what the next chunk needs, and memory is asked for.
//
// A sum is formed in steps, each added to it in float32: the same for any blocks of whole steps, and for any place of
// an element in a chunk.
#pragma once

#include "kernels/cpu/product_pack.h"
#include "kernels/cpu/tile_config.h"

#if defined(__AVX512F__)  // vectors of as many words as a tile's rows

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

inline constexpr int64_t kStepWords = 16, kWordBytes = 4;
inline constexpr int64_t kPanelColumns = 32, kBlockRows = 2 * kTileRows;
inline constexpr int64_t kPanelRowBytes = kPanelColumns * kWordBytes;
inline constexpr int64_t kPackedTileBytes = kTileRows * kTileBytes;

// Which tile holds what.
inline constexpr int kSums = 0, kLeft = 4, kRight = 6;

// Tiles for `rows` <= 32 rows of A: up to 16 in the upper half, the rest, if any, in the lower one.
TANDEM_INLINE TileConfig tiles_for(int64_t rows) {
  TileConfig config = {};
  config.palette = 1;
  auto shape = [&](int tile, int64_t n) {
    config.rows[tile] = static_cast<uint8_t>(n);
    config.row_bytes[tile] = static_cast<uint16_t>(n > 0 ? kTileBytes : 0);
  };
  const int64_t upper_rows = lower(rows, kTileRows);
  for (int half = 0; half < 2; ++half) {
    int64_t n = half == 0 ? upper_rows : rows - upper_rows;
    shape(kLeft + half, n);
    shape(kSums + 2 * half, n);
    shape(kSums + 2 * half + 1, n);
    shape(kRight + half, kTileRows);
  }
  return config;
}

// --- Packing -------------------------------------------------------------------------------------------------------

// One tile from A where rows of A lie side by side: `from` is its first row and first element, of which `rest` are left
// along the sum.
inline void pack_turned_edge(float* to, const uint16_t* from, int64_t k_stride, int64_t rest, First lanes) {
  F words[kLanes];
  for (int w = 0; w < kStepWords; ++w) {
    const uint16_t* row = from + 2 * w * k_stride;
    words[w] = 2 * w < rest ? Bf16Words::pairs(row, 2 * w + 1 < rest ? row + k_stride : nullptr, lanes) : zero();
  }
  transpose(words);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) store(to + r * kStepWords, words[r]);
}

TANDEM_INLINE void pack_turned_tile(float* to, const uint16_t* from, int64_t k_stride) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    F rows[8];
    load_transposed_halves(rows, reinterpret_cast<const char*>(from + 8 * half), 2 * k_stride);
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) store(to + (8 * half + r) * kStepWords, rows[r]);
  }
}

// One tile from A where it lies as tiles do.
TANDEM_INLINE void pack_tile(float* to, const uint16_t* from, int64_t n_stride, int64_t rows, int64_t rest) {
  if (rows >= kTileRows && rest >= 2 * kStepWords) {
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) store(to + r * kStepWords, Bf16Words::words(from + r * n_stride));
    return;
  }
  rest = lower(rest, 2 * kStepWords);
  for (int64_t r = 0; r < lower(rows, kTileRows); ++r) {
    store(to + r * kStepWords, Bf16Words::words(from + r * n_stride, rest));
  }
}

// Two tiles of B, side by side, of which `columns` columns are there.
inline void pack_pair_edge(float* to, const uint16_t* from, int64_t k_stride, int64_t columns, int64_t rest) {
  for (int64_t c = 0; c < kPanelColumns; c += kLanes) {
    First lanes{columns > c ? lower(columns - c, kLanes) : 0};
    const uint16_t* column = from + (lanes.n > 0 ? c : 0);
    for (int64_t w = 0; w < kStepWords; ++w) {
      const uint16_t* row = column + 2 * w * k_stride;
      const uint16_t* next = 2 * w + 1 < rest ? row + k_stride : nullptr;
      store(to + w * kPanelColumns + c, 2 * w < rest ? Bf16Words::pairs(row, next, lanes) : zero());
    }
  }
}

TANDEM_INLINE void pack_pair(float* to, const uint16_t* from, int64_t k_stride) {
#pragma GCC unroll 16
  for (int w = 0; w < kStepWords; ++w, from += 2 * k_stride, to += kPanelColumns) {
    store(to, Bf16Words::pairs(from, from + k_stride, All{}));
    store(to + kLanes, Bf16Words::pairs(from + kLanes, from + kLanes + k_stride, All{}));
  }
}

// The same where words of a column lie one behind the other.
TANDEM_INLINE void pack_turned_pair(float* to, const uint16_t* from, int64_t n_stride, int64_t columns, int64_t rest) {
  for (int64_t c = 0; c < kPanelColumns; c += kLanes) {
    const uint16_t* rows = from + c * n_stride;
    F words[kLanes];
    if (columns - c >= kLanes && rest >= 2 * kStepWords) {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) words[i] = Bf16Words::words(rows + i * n_stride);
    } else {
      const int64_t elements = lower(rest, 2 * kStepWords);
      for (int i = 0; i < kLanes; ++i) {
        words[i] = i < columns - c ? Bf16Words::words(rows + i * n_stride, elements) : zero();
      }
    }
    transpose(words);
#pragma GCC unroll 16
    for (int w = 0; w < kStepWords; ++w) store(to + w * kPanelColumns + c, words[w]);
  }
}

// An operand's panels of kWidth rows of A or columns of B, one step of one panel after the other, so that packing can
// be spread over other work. Several panels are packed at once: where panels lie side by side in memory, the rows may
// be far apart, and of each a few lines are read.
template <int64_t kWidth>
class PanelPacking {
 public:
  explicit PanelPacking(const Packing& job)
      : job_(job),
        panels_(job.to ? (job.n + kWidth - 1) / kWidth : 0),
        steps_((job.k + 2 * kStepWords - 1) / (2 * kStepWords)),
        at_once_(job.n_stride == 1 ? kPanelsAtOnce : 1) {
    if (steps_ == 0) panels_ = 0;
  }

  int64_t units() const { return panels_ * steps_; }
  bool done() const { return first_ >= panels_; }
  void unit() {
    pack();
    if (++panel_ < lower(first_ + at_once_, panels_)) return;
    panel_ = first_;
    if (++step_ < steps_) return;
    step_ = 0;
    panel_ = first_ += at_once_;
  }

 private:
  static constexpr int64_t kUnitFloats = kWidth * kStepWords;

  TANDEM_INLINE void pack() {
    const int64_t row = panel_ * kWidth, k = step_ * 2 * kStepWords, rows = job_.n - row, rest = job_.k - k;
    float* to = reinterpret_cast<float*>(job_.to) + (panel_ * steps_ + step_) * kUnitFloats;
    const uint16_t* from = static_cast<const uint16_t*>(job_.from) + row * job_.n_stride + k * job_.k_stride;
    if (job_.n_stride != 1) {
      if constexpr (kWidth == kTileRows) return pack_tile(to, from, job_.n_stride, rows, rest);
      return pack_turned_pair(to, from, job_.n_stride, rows, rest);
    }
    const bool whole = rows >= kWidth && rest >= 2 * kStepWords;
    if (rest >= 4 * kStepWords) fetch_next_step(from);
    if constexpr (kWidth == kTileRows) {
      if (whole) return pack_turned_tile(to, from, job_.k_stride);
      pack_turned_edge(to, from, job_.k_stride, rest, First{lower(rows, kTileRows)});
    } else {
      if (whole) return pack_pair(to, from, job_.k_stride);
      pack_pair_edge(to, from, job_.k_stride, rows, rest);
    }
  }
  TANDEM_INLINE void fetch_next_step(const uint16_t* from) const {
    if (kWidth == kTileRows && panel_ % 2 == 1) return;  // half a line, which the panel before this one has asked for
    const uint16_t* next = from + 2 * kStepWords * job_.k_stride;
    for (int64_t i = 0; i < 2 * kStepWords; ++i) __builtin_prefetch(next + i * job_.k_stride, 0, kFirstCache);
  }

  Packing job_;
  int64_t panels_, steps_, at_once_;
  int64_t first_ = 0, panel_ = 0, step_ = 0;
};

template <int64_t kWidth>
void pack_panels(char* to, const void* from, int64_t n_stride, int64_t k_stride, int64_t n, int64_t k) {
  PanelPacking<kWidth> packing({to, from, n_stride, k_stride, n, k});
  while (!packing.done()) packing.unit();
}

// --- Multiplying ---------------------------------------------------------------------------------------------------

// Sums in memory, [32][32], on their way into C: rounded, or added to a part of a row. They are taken there a few rows
// at a time while the next tiles are multiplied.
class Outgoing {
 public:
  TANDEM_INLINE void set(const float* from, const Matrix& c, int64_t row, int64_t column, int64_t rows, int64_t columns,
                         int64_t steps) {
    from_ = from;
    bf16_ = c.bf16;
    row_bytes_ = c.stride * (bf16_ ? 2 : 4);
    to_ = static_cast<char*>(c.data) + row * row_bytes_ + column * (bf16_ ? 2 : 4);
    rows_ = rows;
    columns_ = columns;
    at_once_ = steps > 0 ? (rows + steps - 1) / steps : rows;
  }
  TANDEM_INLINE void step() {
    if (rows_ > 0) some(at_once_);
  }
  TANDEM_INLINE void finish() {
    if (rows_ > 0) some(rows_);
  }

 private:
  void some(int64_t count) {
    for (count = lower(count, rows_); count > 0; --count, --rows_, from_ += kPanelColumns, to_ += row_bytes_) {
      if (bf16_) {
        store_row(reinterpret_cast<uint16_t*>(to_));
      } else {
        store_row(reinterpret_cast<float*>(to_));
      }
    }
  }
  template <class T>
  TANDEM_INLINE void store_row(T* to) {
    if (columns_ >= kPanelColumns) {
      store(to, load(from_));
      store(to + kLanes, load(from_ + kLanes));
    } else {
      store(to, load(from_), lower(columns_, kLanes));
      if (columns_ > kLanes) store(to + kLanes, load(from_ + kLanes), columns_ - kLanes);
    }
  }

  const float* from_ = nullptr;
  char* to_ = nullptr;
  int64_t row_bytes_ = 0, rows_ = 0, columns_ = 0, at_once_ = 0;
  bool bf16_ = false;
};

// The two tiles of A of a block of rows: the first step, and the last one where it is a copy.
struct LeftTiles {
  const char* at[2];
  int64_t row_bytes, step_bytes, steps;
  const float* rest;  // [32 rows][16 words], or null
};

struct alignas(64) TileBuffers {
  float rest[kBlockRows * kStepWords];
  float sums[2][kBlockRows * kPanelColumns];  // one is filled while the other goes out
};

template <class Tiles>
class TileProduct {
 public:
  TileProduct(const ProductChunk& t, TileBuffers& buffers)
      : t_(t),
        buffers_(buffers),
        steps_((t.words + kStepWords - 1) / kStepWords),
        fetcher_(t.ahead[0], t.ahead[1], all_steps()),
        next_a_(t.next_a),
        next_b_(t.next_b) {
    const int64_t units = next_a_.units() + next_b_.units();
    if (all_steps() > 0) units_at_once_ = (units + all_steps() - 1) / all_steps();
  }

  void run() {
    const int64_t whole = t_.rows / kBlockRows * kBlockRows, rest = t_.rows - whole;
    if (whole > 0) Tiles::configure(tiles_for(kBlockRows));
    for (int64_t row = 0; row < whole; row += kBlockRows) multiply_rows<2>(row, kBlockRows);
    if (rest > 0) {
      Tiles::configure(tiles_for(rest));
      rest > kTileRows ? multiply_rows<2>(whole, rest) : multiply_rows<1>(whole, rest);
    }
    Tiles::release();
    outgoing_.finish();
    while (pack_unit()) continue;
  }

 private:
  using ToFirst = Fetcher<kFirstCache>;

  int64_t panels() const { return (t_.columns + kPanelColumns - 1) / kPanelColumns; }
  int64_t all_steps() const { return panels() * ((t_.rows + kBlockRows - 1) / kBlockRows) * steps_; }

  bool pack_unit() {
    if (!next_a_.done()) {
      next_a_.unit();
    } else if (!next_b_.done()) {
      next_b_.unit();
    } else {
      return false;
    }
    return true;
  }

  // R: tiles of 16 rows.
  template <int R>
  void multiply_rows(int64_t row, int64_t rows) {
    const LeftTiles left = left_tiles(row, rows);
    Fetcher<> rows_ahead(next_rows(row + kBlockRows), {}, panels() * steps_);
    for (int64_t column = 0; column < t_.columns; column += kPanelColumns) {
      if (t_.columns - column > kTileRows) {
        multiply_tile<R, 2>(left, row, rows, column, rows_ahead);
      } else {
        multiply_tile<R, 1>(left, row, rows, column, rows_ahead);
      }
    }
  }

  LeftTiles left_tiles(int64_t row, int64_t rows) {
    if (t_.a_row_bytes == 0) {
      const char* panel = t_.a + row / kTileRows * steps_ * kPackedTileBytes;
      return {{panel, panel + steps_ * kPackedTileBytes}, kTileBytes, kPackedTileBytes, steps_, nullptr};
    }
    const char* at = t_.a + row * t_.a_row_bytes;
    const int64_t whole = t_.words / kStepWords, rest = t_.words % kStepWords;
    LeftTiles left = {{at, at + kTileRows * t_.a_row_bytes}, t_.a_row_bytes, kTileBytes, whole, nullptr};
    if (rest == 0) return left;
    for (int64_t r = 0; r < rows; ++r) {
      const char* words = at + r * t_.a_row_bytes + whole * kTileBytes;
      store(buffers_.rest + r * kStepWords, load(reinterpret_cast<const float*>(words), rest));
    }
    left.rest = buffers_.rest;
    return left;
  }

  Ahead next_rows(int64_t row) const {
    if (t_.a_row_bytes == 0 || row >= t_.rows) return {};
    return {t_.a + row * t_.a_row_bytes, t_.a_row_bytes, lower(kBlockRows, t_.rows - row), t_.words * kWordBytes};
  }

  // What the tile after this one is added to.
  Ahead next_start(int64_t row, int64_t column) const {
    if (!t_.start) return {};
    column += kPanelColumns;
    if (column >= t_.columns) {
      column = 0;
      row += kBlockRows;
    }
    if (row >= t_.rows) return {};
    const float* at = t_.start + row * t_.start_stride + column;
    return {reinterpret_cast<const char*>(at), t_.start_stride * kWordBytes, lower(kBlockRows, t_.rows - row),
            lower(kPanelColumns, t_.columns - column) * kWordBytes};
  }

  template <int R, int V>
  void multiply_tile(const LeftTiles& left, int64_t row, int64_t rows, int64_t column, Fetcher<>& rows_ahead) {
    const int64_t columns = lower(kPanelColumns, t_.columns - column);
    const bool whole = columns == V * kTileRows;
    float* sums = buffers_.sums[turn_ ^= 1];
    begin<R, V>(row, rows, column, whole, columns, sums);
    ToFirst start_ahead(next_start(row, column), {}, steps_);
    auto between = [&] {
      outgoing_.step();
      start_ahead.step();
      rows_ahead.step();
      fetcher_.step();
      for (int64_t i = 0; i < units_at_once_ && pack_unit(); ++i) continue;
    };
    const char* b = t_.b + column * steps_ * kStepWords * kWordBytes;
    const char *a0 = left.at[0], *a1 = left.at[1];
    for (int64_t step = 0; step < left.steps; ++step) {
      multiply_step<R, V>(a0, a1, left.row_bytes, b);
      a0 += left.step_bytes;
      a1 += left.step_bytes;
      b += kStepWords * kPanelRowBytes;
      between();
    }
    if (left.rest) {
      const char* rest = reinterpret_cast<const char*>(left.rest);
      multiply_step<R, V>(rest, rest + kPackedTileBytes, kTileBytes, b);
      between();
    }
    outgoing_.finish();
    if (whole && !t_.c.bf16) {
      float* c = static_cast<float*>(t_.c.data) + row * t_.c.stride + column;
      store_sums<R, V>(c, t_.c.stride);
    } else {
      store_sums<R, V>(sums, kPanelColumns);
      outgoing_.set(sums, t_.c, row, column, rows, columns, steps_);
    }
  }

  // The sums begin with zero, or with what they are added to: from where it lies, or, where a tile would reach past its
  // columns, from a copy.
  template <int R, int V>
  TANDEM_INLINE void begin(int64_t row, int64_t rows, int64_t column, bool whole, int64_t columns, float* copy) {
    if (!t_.start) {
      Tiles::template zero<kSums>();
      if constexpr (V == 2) Tiles::template zero<kSums + 1>();
      if constexpr (R == 2) Tiles::template zero<kSums + 2>();
      if constexpr (R == 2 && V == 2) Tiles::template zero<kSums + 3>();
      return;
    }
    const float* from = t_.start + row * t_.start_stride + column;
    if (whole) return load_sums<R, V>(from, t_.start_stride);
    for (int64_t r = 0; r < rows; ++r, from += t_.start_stride) {
      store(copy + r * kPanelColumns, load(from, lower(columns, kLanes)));
      store(copy + r * kPanelColumns + kLanes, columns > kLanes ? load(from + kLanes, columns - kLanes) : zero());
    }
    load_sums<R, V>(copy, kPanelColumns);
  }

  template <int R, int V>
  static TANDEM_INLINE void load_sums(const float* from, int64_t stride) {
    const int64_t bytes = stride * kWordBytes;
    const float* second = from + kTileRows * stride;
    Tiles::template load<kSums>(from, bytes);
    if constexpr (V == 2) Tiles::template load<kSums + 1>(from + kLanes, bytes);
    if constexpr (R == 2) Tiles::template load<kSums + 2>(second, bytes);
    if constexpr (R == 2 && V == 2) Tiles::template load<kSums + 3>(second + kLanes, bytes);
  }

  template <int R, int V>
  static TANDEM_INLINE void store_sums(float* to, int64_t stride) {
    const int64_t bytes = stride * kWordBytes;
    float* second = to + kTileRows * stride;
    Tiles::template store<kSums>(to, bytes);
    if constexpr (V == 2) Tiles::template store<kSums + 1>(to + kLanes, bytes);
    if constexpr (R == 2) Tiles::template store<kSums + 2>(second, bytes);
    if constexpr (R == 2 && V == 2) Tiles::template store<kSums + 3>(second + kLanes, bytes);
  }

  // Loads stand before the multiplication that needs them, not all in front.
  template <int R, int V>
  static TANDEM_INLINE void multiply_step(const char* a0, const char* a1, int64_t a_bytes, const char* b) {
    Tiles::template load<kRight>(b, kPanelRowBytes);
    Tiles::template load<kLeft>(a0, a_bytes);
    Tiles::template multiply<kSums, kLeft, kRight>();
    if constexpr (V == 2) {
      Tiles::template load<kRight + 1>(b + kTileBytes, kPanelRowBytes);
      Tiles::template multiply<kSums + 1, kLeft, kRight + 1>();
    }
    if constexpr (R == 2) {
      Tiles::template load<kLeft + 1>(a1, a_bytes);
      Tiles::template multiply<kSums + 2, kLeft + 1, kRight>();
    }
    if constexpr (R == 2 && V == 2) Tiles::template multiply<kSums + 3, kLeft + 1, kRight + 1>();
  }

  const ProductChunk& t_;
  TileBuffers& buffers_;
  const int64_t steps_;  // of a sum
  Fetcher<> fetcher_;
  PanelPacking<kTileRows> next_a_;
  PanelPacking<kPanelColumns> next_b_;
  int64_t units_at_once_ = 0;
  Outgoing outgoing_;
  int turn_ = 0;
};

template <class Tiles>
void multiply_by_tiles(const ProductChunk& t) {
  TileBuffers buffers;
  TileProduct<Tiles>(t, buffers).run();
}

// Derived, not measured on tiles, for a second cache of 2 MiB and a first one of 48 KiB.
//
// The second cache shall hold panels of B and packed rows of A twice (b_bytes, a_bytes: one set is packed while the
// other is multiplied) and a chunk's growing sums, 1.25 MiB, beside rows that are read in place. Blocks of 128 words
// keep a block of rows and a panel, 16 KiB each, in the first cache with the sums that they are added to. Where a sum
// fits into one block of 256 words, both stream from the second cache, which costs less than sums that are written and
// read again.
//
// Costs in multiply-adds of 0.5 ps, two thirds of the 6.2 TFLOP/s of a core whose peak was measured. Packing out of the
// second cache takes 60 ps for an element of A and 50 for one of B (measured with AVX-512, not on the same machine);
// all but a chunk's first block is packed beside multiplications: half of it is counted.
inline constexpr ProductFigures kTileFigures = {.whole_words = 256,
                                                .block_words = 128,
                                                .b_bytes = 256 << 10,
                                                .a_bytes = 128 << 10,
                                                .sums_bytes = 512 << 10,
                                                .packs_ahead = true,
                                                .bf16_in_blocks = true,
                                                .pack_a = 60,
                                                .read_a = 20,
                                                .pack_b = 50,
                                                .pack_turned_b = 50,
                                                .hand_out = 8e5};

template <class Tiles>
constexpr ProductKernels tile_kernels() {
  return {.rows = kBlockRows,
          .columns = kPanelColumns,
          .word_unit = kStepWords,
          .figures = kTileFigures,
          .pack_a = pack_panels<kTileRows>,
          .pack_b = pack_panels<kPanelColumns>,
          .multiply = multiply_by_tiles<Tiles>};
}

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE

#endif
