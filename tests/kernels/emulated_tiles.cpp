#include "kernels/emulated_tiles.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <stdexcept>

namespace tandem::testing {
namespace {

constexpr int kTiles = 8, kRows = 16, kBytes = 64, kWords = kBytes / 4;

struct Tile {
  int rows = 0, bytes = 0;
  unsigned char data[kRows][kBytes] = {};
};

struct Registers {
  bool configured = false;
  Tile tiles[kTiles];
};

thread_local Registers registers;
thread_local EmulatedTiles::Counts thread_counts;

void require(bool holds, const char* what, int tile = -1) {
  if (!holds) throw std::logic_error(fmt::format("tile {}: {}", tile, what));
}

Tile& tile(int index) {
  require(registers.configured, "no configuration is loaded", index);
  require(index >= 0 && index < kTiles, "no such tile", index);
  require(registers.tiles[index].rows > 0, "not configured", index);
  return registers.tiles[index];
}

// Denormals are read as zero, and written as zero.
float flushed(float x) { return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
float multiply_add(float a, float b, float c) { return flushed(std::fma(flushed(a), flushed(b), flushed(c))); }
float add(float a, float b) { return flushed(flushed(a) + flushed(b)); }

float word(const Tile& t, int row, int column) {
  float value;
  std::memcpy(&value, &t.data[row][4 * column], 4);
  return value;
}

// A word holds two bf16, each the upper half of a float.
float half_word(const Tile& t, int row, int column, int half) {
  unsigned char bytes[4] = {0, 0, t.data[row][4 * column + 2 * half], t.data[row][4 * column + 2 * half + 1]};
  float value;
  std::memcpy(&value, bytes, 4);
  return value;
}

struct Pairs {
  float even[kRows][kWords], odd[kRows][kWords];
  explicit Pairs(const Tile& t) {
    for (int r = 0; r < t.rows; ++r) {
      for (int c = 0; c < t.bytes / 4; ++c) even[r][c] = half_word(t, r, c, 0), odd[r][c] = half_word(t, r, c, 1);
    }
  }
};

}  // namespace

void EmulatedTiles::configure(const void* config) {
  unsigned char bytes[64];
  std::memcpy(bytes, config, sizeof bytes);
  require(bytes[0] == 1, "the palette is not 1");
  for (int i = 1; i < 16; ++i) require(bytes[i] == 0, "start row or reserved bytes are not zero");
  Registers next;
  next.configured = true;
  for (int t = 0; t < 16; ++t) {
    const int row_bytes = bytes[16 + 2 * t] | bytes[17 + 2 * t] << 8, rows = bytes[48 + t];
    if (t >= kTiles) {
      require(row_bytes == 0 && rows == 0, "a shape for a tile that does not exist", t);
      continue;
    }
    require((row_bytes == 0) == (rows == 0), "rows without bytes, or bytes without rows", t);
    require(row_bytes <= kBytes && rows <= kRows, "larger than a register", t);
    next.tiles[t].rows = rows;
    next.tiles[t].bytes = row_bytes;
  }
  registers = next;
  ++thread_counts.configured;
}

void EmulatedTiles::release() { registers = {}; }

void EmulatedTiles::zero(int index) { std::memset(tile(index).data, 0, sizeof(Tile::data)); }

void EmulatedTiles::load(int index, const void* from, int64_t stride) {
  Tile& t = tile(index);
  std::memset(t.data, 0, sizeof t.data);
  for (int r = 0; r < t.rows; ++r) {
    std::memcpy(t.data[r], static_cast<const char*>(from) + r * stride, static_cast<size_t>(t.bytes));
  }
  ++thread_counts.loads;
}

void EmulatedTiles::store(int index, void* to, int64_t stride) {
  const Tile& t = tile(index);
  for (int r = 0; r < t.rows; ++r) {
    std::memcpy(static_cast<char*>(to) + r * stride, t.data[r], static_cast<size_t>(t.bytes));
  }
  ++thread_counts.stores;
}

// The sums of the products of even and of odd elements begin with zero, are added to each other, then to what is there.
void EmulatedTiles::multiply(int sum, int a, int b) {
  Tile &c = tile(sum), &left = tile(a), &right = tile(b);
  require(sum != a && sum != b && a != b, "one tile is two operands", sum);
  require(c.bytes % 4 == 0 && left.bytes % 4 == 0 && right.bytes % 4 == 0, "rows of no whole words", sum);
  require(c.rows == left.rows, "other rows than the left operand", sum);
  require(c.bytes == right.bytes, "other columns than the right operand", sum);
  require(left.bytes / 4 == right.rows, "words of the left operand are not the right one's rows", sum);
  const Pairs x(left), y(right);
  for (int m = 0; m < c.rows; ++m) {
    float even[kWords] = {}, odd[kWords] = {};
    for (int k = 0; k < right.rows; ++k) {
      for (int n = 0; n < c.bytes / 4; ++n) {
        even[n] = multiply_add(x.even[m][k], y.even[k][n], even[n]);
        odd[n] = multiply_add(x.odd[m][k], y.odd[k][n], odd[n]);
      }
    }
    for (int n = 0; n < c.bytes / 4; ++n) {
      const float total = add(word(c, m, n), add(even[n], odd[n]));
      std::memcpy(&c.data[m][4 * n], &total, 4);
    }
  }
  ++thread_counts.multiplied;
}

bool EmulatedTiles::configured() { return registers.configured; }

EmulatedTiles::Counts& EmulatedTiles::counts() { return thread_counts; }

}  // namespace tandem::testing
