#include "kernels/elementwise.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

constexpr int64_t kRows[] = {1, 5};

TEST(Elementwise, AddIsOneRounding) {
  for (int64_t rows : kRows) {
    for (int64_t n : kAwkwardSizes) {
      for (int64_t gap : {0, 3}) {
        Guarded a(DType::f32, {rows, n}, n + gap), b(DType::f32, {rows, n}, n + gap), y(DType::f32, {rows, n});
        a.fill_normal(1);
        b.fill_normal(2);
        InDouble want(a), b64(b);
        kernels::add(context(), want, want, b64);
        kernels::add(context(), y, a, b);
        auto bound = [&](int64_t r, int64_t i) { return kUnit * std::abs(load_element(want, r, i)); };
        expect_close(y, want, "y", bound);
        kernels::add(context(), a, a, b);  // in place
        expect_close(a, want, "a", bound);
        EXPECT_TRUE(a.intact() && b.intact() && y.intact());
      }
    }
  }
}

TEST(Elementwise, ScaleIsOneRounding) {
  for (int64_t n : kAwkwardSizes) {
    for (int64_t gap : {0, 3}) {
      Guarded x(DType::f32, {5, n}, n + gap), y(DType::f32, {5, n}, n + gap);
      x.fill_normal(1);
      InDouble want(x);
      kernels::scale(context(), want, want, 0.75);
      kernels::scale(context(), y, x, 0.75);
      auto bound = [&](int64_t r, int64_t i) { return kUnit * std::abs(load_element(want, r, i)); };
      expect_close(y, want, "y", bound);
      kernels::scale(context(), x, x, 0.75);  // in place
      EXPECT_TRUE(same_bits(x, y) && x.intact() && y.intact());
    }
  }
}

TEST(Elementwise, AccumulateTakesBothTypes) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (int64_t n : kAwkwardSizes) {
      for (int64_t gap : {0, 3}) {
        Guarded y(DType::f32, {5, n}, n + gap), x(dtype, {5, n}, n + gap);
        y.fill_normal(1);
        x.fill_normal(2);
        InDouble want(y), x64(x);
        kernels::accumulate(context(), want, x64);
        kernels::accumulate(context(), y, x);
        expect_close(y, want, "y", [&](int64_t r, int64_t i) { return kUnit * std::abs(load_element(want, r, i)); });
        EXPECT_TRUE(x.intact() && y.intact());
      }
    }
  }
}

TEST(Elementwise, ConversionsAreExactlyThoseOfTheDefinition) {
  for (int64_t n : kAwkwardSizes) {
    for (int64_t gap : {0, 3}) {
      Guarded x(DType::f32, {5, n}, n + gap), narrow(DType::bf16, {5, n}, n + gap), wide(DType::f32, {5, n}, n + gap);
      x.fill_normal(1);
      kernels::convert(context(), narrow, x);
      kernels::convert(context(), wide, narrow);
      for (int64_t r = 0; r < 5; ++r) {
        for (int64_t i = 0; i < n; ++i) {
          ASSERT_EQ(narrow.tensor().row<bf16>(r)[i], float_to_bf16(x.tensor().row<float>(r)[i]));
          ASSERT_EQ(wide.tensor().row<float>(r)[i], bf16_to_float(narrow.tensor().row<bf16>(r)[i]));
        }
      }
      EXPECT_TRUE(x.intact() && narrow.intact() && wide.intact());
    }
  }
}

// All exponents, both signs, ties to even in both directions, overflow to infinity, NaN.
TEST(Elementwise, EdgesOfBf16) {
  std::vector<float> values = {0.0f,
                               -0.0f,
                               1e38f,
                               -1e38f,
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity()};
  for (uint32_t exponent = 1; exponent < 255; ++exponent) {
    for (uint32_t low : {0x00000u, 0x07FFFu, 0x08000u, 0x08001u, 0x18000u, 0x17FFFu, 0x18001u, 0x7FFFFFu}) {
      values.push_back(std::bit_cast<float>(exponent << 23 | low));
      values.push_back(std::bit_cast<float>(0x80000000u | exponent << 23 | low));
    }
  }
  int64_t n = static_cast<int64_t>(values.size());
  Guarded y(DType::bf16, {1, n});
  kernels::convert(context(), y, Tensor(values.data(), DType::f32, {1, n}));
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(y.tensor().as<bf16>()[i], float_to_bf16(values[i])) << values[i];
  }
  // Every NaN stays one, those too whose payload lies in the dropped half.
  for (uint32_t bits : {0x7F800001u, 0xFF800001u, 0x7FC00000u, 0xFFFFFFFFu}) {
    std::vector<float> nan(17, std::bit_cast<float>(bits));
    Guarded out(DType::bf16, {1, 17});
    kernels::convert(context(), out, Tensor(nan.data(), DType::f32, {1, 17}));
    for (int64_t i = 0; i < 17; ++i) EXPECT_TRUE(std::isnan(load_element(out, 0, i))) << bits;
  }
}

TEST(Elementwise, ReferenceTypesRoundWhereBf16Does) {
  Guarded x(DType::f64, {3, 9}), y(DType::bf16_in_f64, {3, 9});
  x.fill_normal(1);
  kernels::convert(context(), y, x);
  for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(load_element(y, 2, i), round_to_bf16(load_element(x, 2, i)));
}

}  // namespace
}  // namespace tandem::testing
