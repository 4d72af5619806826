// float16 (IEEE 754 binary16), which is no element type here: files hold it, and readers and writers convert.
#pragma once

#include <bit>
#include <cstdint>

namespace tandem {

// Exact, subnormal numbers, infinities and NaN (with its payload) included.
inline float half_to_float(uint16_t half) {
  uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  uint32_t rest = half & 0x7FFFu;
  if (rest >= 0x7C00u) return std::bit_cast<float>(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
  if (rest < 0x400u) {  // rest * 2^-24, which float32 holds
    float magnitude = static_cast<float>(rest) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((rest << 13) + (uint32_t{127 - 15} << 23)));
}

// Round to nearest, ties to even; too large becomes infinite, NaN stays NaN.
inline uint16_t float_to_half(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  uint32_t rest = bits & 0x7FFFFFFFu;
  uint32_t half;
  if (rest > 0x7F800000u) {
    half = 0x7E00u | (rest >> 13 & 0x3FFu);
  } else if (rest >= 0x47800000u) {  // 2^16
    half = 0x7C00u;
  } else if (rest >= 0x38800000u) {  // 2^-14, the smallest normal number; 65520 carries into infinity
    half = (rest - (uint32_t{127 - 15} << 23) + 0xFFFu + (rest >> 13 & 1u)) >> 13;
  } else {
    // In units of 2^-24: adding 2^23 units leaves none below, so that the sum rounds to them.
    float units = std::bit_cast<float>(rest) * 0x1p24f + 0x1p23f;
    half = std::bit_cast<uint32_t>(units) - std::bit_cast<uint32_t>(0x1p23f);
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace tandem
