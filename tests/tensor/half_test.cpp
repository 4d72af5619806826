#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"

namespace tandem {
namespace {

// sign (1 + m/1024) 2^(e-15), or sign m 2^-24 for e = 0.
double value_of(uint16_t half) {
  int exponent = half >> 10 & 31, mantissa = half & 1023;
  double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

bool is_finite(uint16_t half) { return (half & 0x7C00) != 0x7C00; }

TEST(Half, EveryNumberIsReadExactlyAndWrittenBack) {
  for (uint32_t i = 0; i < 65536; ++i) {
    auto half = static_cast<uint16_t>(i);
    float x = half_to_float(half);
    if (is_finite(half)) {
      ASSERT_EQ(static_cast<double>(x), value_of(half)) << i;
      ASSERT_EQ(std::signbit(x), (half & 0x8000) != 0) << i;
    } else if ((half & 1023) == 0) {
      ASSERT_EQ(x, half & 0x8000 ? -INFINITY : INFINITY);
    } else {
      ASSERT_TRUE(std::isnan(x)) << i;
      ASSERT_EQ(float_to_half(x), half | 0x200) << i;  // quiet, the payload kept
      continue;
    }
    ASSERT_EQ(float_to_half(x), half) << i;
  }
}

// The nearest of the numbers around it; of two equally near, the one with an even last bit.
void expect_nearest(float x) {
  uint16_t half = float_to_half(x);
  uint16_t magnitude = half & 0x7FFF;
  ASSERT_EQ(std::signbit(x), (half & 0x8000) != 0) << x;
  double wanted = std::fabs(static_cast<double>(x));
  if (magnitude == 0x7C00) {
    ASSERT_GE(wanted, 65520.0) << x;
    return;
  }
  ASSERT_LT(magnitude, 0x7C00) << x;
  double error = std::fabs(value_of(magnitude) - wanted);
  auto better = [&](double other) { return std::fabs(other - wanted) < error; };
  auto as_good = [&](double other) { return std::fabs(other - wanted) == error && error > 0; };
  double above = magnitude == 0x7BFF ? 65536.0 : value_of(static_cast<uint16_t>(magnitude + 1));
  ASSERT_FALSE(better(above)) << x;
  if (as_good(above)) {
    ASSERT_EQ(magnitude & 1, 0) << x;
  }
  if (magnitude > 0) {
    double below = value_of(static_cast<uint16_t>(magnitude - 1));
    ASSERT_FALSE(better(below)) << x;
    if (as_good(below)) {
      ASSERT_EQ(magnitude & 1, 0) << x;
    }
  }
}

TEST(Half, RoundsToTheNearestAndTiesToEven) {
  for (uint16_t half = 0; half < 0x7BFF; ++half) {
    auto middle = static_cast<float>((value_of(half) + value_of(static_cast<uint16_t>(half + 1))) / 2);
    for (float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) {
      expect_nearest(x);
      expect_nearest(-x);
    }
  }
  Rng rng(3, 0);
  for (int i = 0; i < 100'000; ++i) {
    float x = std::bit_cast<float>(static_cast<uint32_t>(rng.next()));
    if (!std::isnan(x)) expect_nearest(x);
  }
  EXPECT_EQ(float_to_half(65519.996f), 0x7BFF);
  EXPECT_EQ(float_to_half(65520.0f), 0x7C00);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::denorm_min()), 0);
}

}  // namespace
}  // namespace tandem
