// The one file that is compiled for AMX: the peak rate of tile products. (Products themselves are oneDNN's.)
#include <immintrin.h>

#include "kernels/cpu/peak.h"

namespace tandem::cpu {
namespace {

// Tiles of 16 rows of 64 bytes: 0..3 hold sums [16, 16] f32, 4..7 operands of 32 bf16 a row (Intel SDM, LDTILECFG).
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

}  // namespace

float multiply_add_tiles(int64_t rounds) {
  alignas(64) uint16_t operand[16 * 32];
  for (uint16_t& x : operand) x = 0x3C00;
  alignas(64) float sums[16 * 16];
  TileConfig config;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, operand, 64);
  _tile_loadd(5, operand, 64);
  _tile_loadd(6, operand, 64);
  _tile_loadd(7, operand, 64);
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, 64);
  float result = sums[0];
  _tile_stored(3, sums, 64);
  result += sums[255];
  _tile_release();
  return result;
}

int64_t multiply_add_tiles_flops() { return int64_t{4} * 2 * 16 * 16 * 32; }

}  // namespace tandem::cpu
