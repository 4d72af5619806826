#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"

namespace tandem {
namespace {

float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }

// Rounding by its definition: the nearer of the two bfloat16 around x, the one with an even last bit when both are
// equally near. Distances are exact in double. Past the largest finite value the upper neighbour counts as 2^128.
bf16 nearest_by_definition(float x) {
  auto below = static_cast<uint32_t>(std::bit_cast<uint32_t>(x) >> 16);  // toward zero
  auto magnitude = [](uint32_t b) {
    return (b & 0x7FFF) == 0x7F80 ? 0x1p128 : std::fabs(double{bf16_to_float(static_cast<bf16>(b))});
  };
  double to_below = std::fabs(double{x}) - magnitude(below);
  double to_above = magnitude(below + 1) - std::fabs(double{x});
  if (to_below != to_above) return static_cast<bf16>(to_below < to_above ? below : below + 1);
  return static_cast<bf16>(below % 2 == 0 ? below : below + 1);
}

TEST(Bf16, EveryValueIsItsOwnRounding) {
  for (uint32_t b = 0; b < 0x10000; ++b) {
    float x = bf16_to_float(static_cast<bf16>(b));
    EXPECT_EQ(std::bit_cast<uint32_t>(x), b << 16);
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(x)))) << b;
    } else {
      EXPECT_EQ(float_to_bf16(x), b);
    }
  }
}

// Rounding can change only at the middle between two neighbours: these points of every interval decide all others.
TEST(Bf16, RoundsToNearestEvenInEveryInterval) {
  for (uint32_t b = 0; b < 0x10000; ++b) {
    if ((b & 0x7F80) == 0x7F80) continue;  // infinities and NaN
    for (uint32_t low : {0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      float x = from_bits((b << 16) | low);
      ASSERT_EQ(float_to_bf16(x), nearest_by_definition(x)) << std::hexfloat << x;
    }
  }
}

TEST(Bf16, RoundsRandomBitsByTheDefinition) {
  Rng rng(1, 0);
  for (int i = 0; i < 500'000; ++i) {
    float x = from_bits(rng.next());
    if (!std::isfinite(x)) continue;
    ASSERT_EQ(float_to_bf16(x), nearest_by_definition(x)) << std::hexfloat << x;
  }
}

TEST(Bf16, KeepsNanWhoseLowBitsAloneAreSet) {
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(from_bits(0x7F800001)))));
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(from_bits(0xFFFFFFFF)))));
}

TEST(Bf16, KnownValues) {
  EXPECT_EQ(float_to_bf16(1.0f), 0x3F80);
  EXPECT_EQ(float_to_bf16(-2.5f), 0xC020);
  EXPECT_EQ(float_to_bf16(1.0f + 0x1p-8f), 0x3F80) << "a tie goes to the even neighbour";
  EXPECT_EQ(float_to_bf16(1.0f + 0x3p-8f), 0x3F82);
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7F80) << "beyond the range: infinity";
  EXPECT_EQ(float_to_bf16(-0.0f), 0x8000);
}

TEST(Bf16, OfADoubleGoesThroughFloat) {
  // Just above a tie of bfloat16; float32 rounds it down to the tie, which then goes to the even neighbour.
  double x = 1.0 + 0x1p-8 + 0x1p-40;
  EXPECT_EQ(round_to_bf16(x), 1.0);
  EXPECT_EQ(round_to_bf16(0.1), 0x1.9ap-4);
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(dtype_bytes(DType::f32), 4);
  EXPECT_EQ(dtype_bytes(DType::bf16), 2);
  EXPECT_EQ(dtype_bytes(DType::f64), 8);
  EXPECT_EQ(dtype_bytes(DType::bf16_in_f64), 8);
  EXPECT_EQ(dtype_bytes(DType::i32), 4);
  EXPECT_EQ(dtype_bytes(DType::i64), 8);
  EXPECT_EQ(dtype_bytes(DType::u8), 1);
  EXPECT_EQ(dtype_name(DType::bf16), "bf16");
  EXPECT_TRUE(is_reference(DType::bf16_in_f64));
  EXPECT_FALSE(is_reference(DType::bf16));
}

}  // namespace
}  // namespace tandem
