// Loops that do nothing but one thing, as fast as the processor can: for the machine's peak.
#pragma once

#include <stdint.h>

namespace tandem::cpu {

struct PeakKernels {
  // `rounds` rounds of independent multiply-adds; the result keeps the compiler from dropping them.
  float (*multiply_add)(int64_t rounds);
  int64_t multiply_add_flops;  // per round
  // The same with pairs of bf16 values into f32; null where the instruction set has no such products.
  float (*multiply_add_bf16)(int64_t rounds);
  int64_t multiply_add_bf16_flops;
  // Reads n floats once.
  float (*read)(const float* data, int64_t n);
};

// Tile products. Only to be called on a processor that has them; leaves the tiles released.
namespace amx {
float multiply_add_tiles(int64_t rounds);
int64_t multiply_add_tiles_flops();  // per round
}  // namespace amx

}  // namespace tandem::cpu
