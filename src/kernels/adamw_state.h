// AdamW's moments in fewer bits: what is stored, and how it is rounded.
//
// bf16: the upper half of the float32 value. 8 bits: small floats relative to a float32 scale of each block of
// kStateBlock elements of the parameter (blockwise quantisation, Dettmers et al. 2022, with floats in place of their
// table), so that small values of a block keep their relative precision. With
// code = sign 2^7 (first moment only) + 8 e + f, 0 <= f < 8:
//   value = +-scale x, x = f 2^(1 - bias - 3) where e = 0, else (1 + f / 8) 2^(e - bias)
// First moment: e < 16, bias 15. Second: no sign, e < 32, bias 31; it is never 0 unless it is exactly 0, for the first
// one is divided by its root. The largest of a block is code 127 or 255, which is 1.875 scale.
//
// Both are rounded stochastically (up with the probability that leaves the mean unchanged): near 1, beta2 changes the
// second moment by less than half a step of either format in a training step, and rounding to nearest would leave it
// where it is. The random numbers are a hash of the element's place, the parameter and the step: no state, and the same
// bits however elements are shared out over threads and ranks.
#pragma once

#include <array>
#include <cstdint>

#include "tensor/tensor.h"

namespace tandem::kernels {

// Elements that share a scale. Blocks are counted from the start of the parameter.
inline constexpr int64_t kStateBlock = 256;

inline int64_t state_blocks(int64_t elements) { return (elements + kStateBlock - 1) / kStateBlock; }

// The moments of some elements, side by side as these are: f32, bf16 or u8, the latter with f32 scales.
struct AdamWState {
  Tensor first, second;
  Tensor first_scale, second_scale;  // [state_blocks(elements)]
};

// Which random numbers round the moments.
struct StateRounding {
  uint64_t stream = 0;        // names the parameter
  int64_t first_element = 0;  // of the operands within it: a multiple of kChunkElements of kernels/chunks.h
};

// The numbers of a chunk of kChunkElements elements of the parameter.
using StateKey = std::array<uint32_t, 2>;
StateKey state_key(const StateRounding& rounding, int64_t step, int64_t chunk);

// 32 random bits for element `index` of a chunk: the lower half rounds the first moment, the upper half the second.
// The finaliser of MurmurHash3 (Appleby 2011) with a key in its middle.
inline uint32_t state_random(const StateKey& key, uint32_t index) {
  uint32_t x = index + key[0];
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu ^ key[1];
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

// What codes stand for, without the scale.
double first_moment_value(uint8_t code);
double second_moment_value(uint8_t code);

}  // namespace tandem::kernels
