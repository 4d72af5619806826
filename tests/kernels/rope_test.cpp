#include "kernels/rope.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

using kernels::RopePairs;

// Angles are f32 products: position * frequency is off by half a unit in the last place of the angle, and the frequency
// itself by about two.
TEST(Rope, TableHoldsCosinesOfTheAngles) {
  Guarded cos(DType::f32, {100, 8}), sin(DType::f32, {100, 8});
  kernels::rope_table(cos, sin, 10000);
  for (int64_t p = 0; p < 100; ++p) {
    for (int64_t i = 0; i < 8; ++i) {
      double angle = static_cast<double>(p) * std::pow(10000.0, -static_cast<double>(2 * i) / 16);
      double allowed = (1 + 4 * angle) * kUnit;
      EXPECT_NEAR(load_element(cos, p, i), std::cos(angle), allowed);
      EXPECT_NEAR(load_element(sin, p, i), std::sin(angle), allowed);
    }
  }
  EXPECT_TRUE(cos.intact() && sin.intact());
}

// The angle of position 1 over the plain one's, in the file's f64 tables: what became of a frequency.
std::vector<double> scaled(int64_t features, double base, const kernels::RopeScaling& scaling) {
  Guarded cos(DType::f64, {2, features / 2}), sin(DType::f64, {2, features / 2});
  std::vector<double> ratios;
  kernels::rope_table(cos, sin, base, kernels::RopeFrequencies::half_open, scaling);
  for (int64_t i = 0; i < features / 2; ++i) {
    double plain = std::pow(base, -static_cast<double>(2 * i) / static_cast<double>(features));
    ratios.push_back(std::atan2(load_element(sin, 1, i), load_element(cos, 1, i)) / plain);
  }
  return ratios;
}

TEST(Rope, ScaledFrequencies) {
  using Kind = kernels::RopeScaling::Kind;
  for (double ratio : scaled(16, 10000, {.kind = Kind::linear, .factor = 2.5})) EXPECT_NEAR(ratio, 0.4, 1e-6);
  // Llama 3.1's: heads of 128, base 500,000, trained on 8,192 positions, factor 8.
  std::vector<double> ratios = scaled(128, 500000, {Kind::llama3, 8, 1, 4, 8192});
  int between = 0;
  for (size_t i = 0; i < ratios.size(); ++i) {
    double frequency = std::pow(500000.0, -static_cast<double>(i) / 64);
    double turns = 8192 * frequency / (2 * 3.14159265358979323846), expected = 1;
    if (turns < 1) expected = 1.0 / 8;
    if (turns >= 1 && turns <= 4) {
      double kept = (turns - 1) / 3;
      expected = (1 - kept) / 8 + kept;
      ++between;
    }
    EXPECT_NEAR(ratios[i], expected, 1e-5) << i;
  }
  EXPECT_EQ(between, 6);
}

struct Case {
  int64_t rows, heads, d;
  DType dtype;
  RopePairs pairs;
  bool inverse;
  int64_t turned = 0;  // features of a head; 0: all
};

// Two products and one sum, with cosines and sines of at most 1: three roundings of |a| + |b|.
void check(const Case& c) {
  SCOPED_TRACE(::testing::Message() << c.rows << " x " << c.heads << " x " << c.d << ", " << dtype_name(c.dtype)
                                    << ", pairs " << static_cast<int>(c.pairs) << ", inverse " << c.inverse);
  int64_t turned = c.turned ? c.turned : c.d;
  Guarded cos(DType::f32, {50, turned / 2}), sin(DType::f32, {50, turned / 2});
  kernels::rope_table(cos, sin, 10000);
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < c.rows; ++t) positions.push_back(static_cast<int32_t>(t * 13 % 50));
  Guarded x(c.dtype, {c.rows, c.heads, c.d}, c.heads * c.d + 6);
  x.fill_normal(1);
  InDouble before(x), want(x);
  kernels::rope_apply(context(), want, positions, cos, sin, c.pairs, c.inverse);
  kernels::rope_apply(context(), x, positions, cos, sin, c.pairs, c.inverse);
  expect_close(x, want, "x", [&](int64_t t, int64_t at) {
    int64_t head = at / c.d * c.d, i = at % c.d;
    if (i >= turned) return 0.0;
    int64_t partner = c.pairs == RopePairs::adjacent ? i ^ 1 : (i + turned / 2) % turned;
    return 3 * kUnit * (std::abs(load_element(before, t, at)) + std::abs(load_element(before, t, head + partner)));
  });
  EXPECT_TRUE(x.intact() && cos.intact() && sin.intact());
}

TEST(Rope, Apply) {
  for (int64_t d : {2, 8, 16, 18, 34, 64, 66, 130, 260}) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (RopePairs pairs : {RopePairs::adjacent, RopePairs::half_split}) {
        for (bool inverse : {false, true})
          check({.rows = 7, .heads = 3, .d = d, .dtype = dtype, .pairs = pairs, .inverse = inverse});
      }
    }
  }
}

// The first features of each head turn, the others stay as they are.
TEST(Rope, OfAPartOfTheHead) {
  for (auto [d, turned] : {std::pair<int64_t, int64_t>{16, 4}, {18, 16}, {64, 2}, {130, 66}, {66, 34}}) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (RopePairs pairs : {RopePairs::adjacent, RopePairs::half_split}) {
        check({.rows = 7, .heads = 3, .d = d, .dtype = dtype, .pairs = pairs, .inverse = false, .turned = turned});
      }
    }
  }
}

// A rotation and its inverse: twice three roundings.
TEST(Rope, InverseTurnsBack) {
  Guarded cos(DType::f32, {9, 8}), sin(DType::f32, {9, 8}), x(DType::f32, {9, 2, 16});
  kernels::rope_table(cos, sin, 100);
  std::vector<int32_t> positions = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  x.fill_normal(1);
  InDouble before(x);
  for (bool inverse : {false, true}) {
    kernels::rope_apply(context(), x, positions, cos, sin, RopePairs::adjacent, inverse);
  }
  // cos^2 + sin^2 itself is off by the roundings of the table.
  expect_close(x, before, "x", [&](int64_t t, int64_t at) {
    return 12 * kUnit * (std::abs(load_element(before, t, at)) + std::abs(load_element(before, t, at ^ 1)));
  });
}

}  // namespace
}  // namespace tandem::testing
