#include "kernels/adamw_state.h"

#include <cmath>

#include "base/rng.h"

namespace tandem::kernels {
namespace {

double magnitude(int code, int bias) {
  int exponent = code >> 3, fraction = code & 7;
  return exponent == 0 ? std::ldexp(fraction, 1 - bias - 3) : std::ldexp(8 + fraction, exponent - bias - 3);
}

}  // namespace

StateKey state_key(const StateRounding& rounding, int64_t step, int64_t chunk) {
  constexpr uint32_t kSeed = 0x5EEDAD44;  // any
  auto low = [](uint64_t x) { return static_cast<uint32_t>(x); };
  auto high = [](uint64_t x) { return static_cast<uint32_t>(x >> 32); };
  auto count = static_cast<uint64_t>(step), place = static_cast<uint64_t>(chunk);
  std::array<uint32_t, 4> words =
      philox({low(place), high(place), low(count), high(count)}, {low(rounding.stream), high(rounding.stream) ^ kSeed});
  return {words[0], words[1]};
}

double first_moment_value(uint8_t code) {
  double value = magnitude(code & 127, 15);
  return code & 128 ? -value : value;
}

double second_moment_value(uint8_t code) { return magnitude(code, 31); }

}  // namespace tandem::kernels
