// The peak rate of tile products.
#include "kernels/cpu/peak.h"

#include "kernels/cpu/amx/tiles.h"

namespace tandem::cpu::amx {

float multiply_add_tiles(int64_t rounds) {
  alignas(64) uint16_t operand[16 * 32];
  for (uint16_t& x : operand) x = 0x3C00;
  alignas(64) float sums[16 * 16];
  Tiles::configure(whole_tiles());
  Tiles::zero<0>();
  Tiles::zero<1>();
  Tiles::zero<2>();
  Tiles::zero<3>();
  Tiles::load<4>(operand, kTileBytes);
  Tiles::load<5>(operand, kTileBytes);
  Tiles::load<6>(operand, kTileBytes);
  Tiles::load<7>(operand, kTileBytes);
  for (int64_t round = 0; round < rounds; ++round) {
    Tiles::multiply<0, 4, 6>();
    Tiles::multiply<1, 4, 7>();
    Tiles::multiply<2, 5, 6>();
    Tiles::multiply<3, 5, 7>();
  }
  Tiles::store<0>(sums, kTileBytes);
  float result = sums[0];
  Tiles::store<3>(sums, kTileBytes);
  result += sums[255];
  Tiles::release();
  return result;
}

int64_t multiply_add_tiles_flops() { return int64_t{4} * 2 * 16 * 16 * 32; }

}  // namespace tandem::cpu::amx
