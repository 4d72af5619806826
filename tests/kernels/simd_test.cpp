// The vector functions against the C library in double, over sweeps of their whole range.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "kernels/compare.h"
#include "kernels/isa/simd_probe.h"

namespace tandem::testing {
namespace {

const cpu::SimdProbe& probe() {
  switch (choose_isa()) {
    case Isa::avx2: return cpu::avx2::kSimdProbe;
    case Isa::avx512: return cpu::avx512::kSimdProbe;
    default: return cpu::avx512_bf16::kSimdProbe;
  }
}

using Map = void (*)(float*, const float*, int64_t);

std::vector<float> sweep(double from, double to, int64_t points) {
  std::vector<float> x;
  for (int64_t i = 0; i <= points; ++i) {
    x.push_back(static_cast<float>(from + (to - from) * static_cast<double>(i) / static_cast<double>(points)));
  }
  return x;
}

// The largest relative error in units of the last place (2^-23 of the value) over the points.
template <class Exact>
double worst_ulps(Map map, const std::vector<float>& x, const Exact& exact) {
  std::vector<float> y(x.size());
  map(y.data(), x.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double want = exact(static_cast<double>(x[i]));
    double ulp = std::max(std::abs(want) * 0x1p-23, 0x1p-149);
    double error = std::abs(static_cast<double>(y[i]) - want) / ulp;
    if (!(error <= worst)) worst = error;  // NaN counts as worse
  }
  return worst;
}

TEST(Simd, ExpIsWithinTwoUlps) {
  EXPECT_LE(worst_ulps(probe().exp, sweep(-87.3, 88.7, 300000), [](double x) { return std::exp(x); }), 2.0);
  EXPECT_LE(worst_ulps(probe().exp, sweep(-1, 1, 100000), [](double x) { return std::exp(x); }), 2.0);
  EXPECT_LE(worst_ulps(probe().exp, sweep(-103, -87.3, 20000), [](double x) { return std::exp(x); }), 2.0);
}

TEST(Simd, ExpAtTheEnds) {
  float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> x = {-infinity, -1e30f, -200, -105, 89, 1e30f, infinity, NAN, 0, -0.0f};
  std::vector<float> y(x.size());
  probe().exp(y.data(), x.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(y[i], 0.0f) << x[i];
  for (size_t i = 4; i < 7; ++i) EXPECT_EQ(y[i], infinity) << x[i];
  EXPECT_TRUE(std::isnan(y[7]));
  EXPECT_EQ(y[8], 1.0f);
  EXPECT_EQ(y[9], 1.0f);
}

TEST(Simd, TanhIsWithinFourUlps) {
  auto exact = [](double x) { return std::tanh(x); };
  EXPECT_LE(worst_ulps(probe().tanh, sweep(-20, 20, 200000), exact), 4.0);
  EXPECT_LE(worst_ulps(probe().tanh, sweep(-1e-3, 1e-3, 100000), exact), 4.0);
  EXPECT_LE(worst_ulps(probe().tanh, {1e30f, -1e30f, 0.0f, 1e-30f}, exact), 4.0);
}

TEST(Simd, SigmoidIsWithinFourUlps) {
  auto exact = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
  EXPECT_LE(worst_ulps(probe().sigmoid, sweep(-87, 40, 200000), exact), 4.0);
}

// The rounding of a^2 / 2 is magnified by the exponential: a^2 / 2 half units, beside about ten operations.
TEST(Simd, NormalTailIsWithinItsBound) {
  std::vector<float> a = sweep(0, 13, 200000), upper(a.size()), density(a.size());
  int64_t n = static_cast<int64_t>(a.size());
  probe().normal_upper(upper.data(), a.data(), n);
  probe().normal_density(density.data(), a.data(), n);
  for (size_t i = 0; i < a.size(); ++i) {
    double x = a[i];
    double want_upper = 0.5 * std::erfc(x / std::sqrt(2.0));
    double want_density = std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
    double allowed = (16 + x * x) * kUnit;
    ASSERT_LE(std::abs(upper[i] - want_upper), allowed * want_upper + 0x1p-149) << x;
    ASSERT_LE(std::abs(density[i] - want_density), allowed * want_density + 0x1p-149) << x;
  }
}

TEST(Simd, ReductionsSeeEveryLane) {
  std::vector<float> x(64);
  for (size_t at = 0; at < x.size(); ++at) {
    std::fill(x.begin(), x.end(), 0.0f);
    x[at] = 3;
    EXPECT_EQ(probe().sum(x.data(), 64), 3.0f);
    EXPECT_EQ(probe().largest(x.data(), 64), 3.0f);
    x[at] = -3;
    EXPECT_EQ(probe().least(x.data(), 64), -3.0f);
  }
  for (int64_t n = 0; n <= 64; ++n) {
    std::fill(x.begin(), x.end(), 1.0f);
    EXPECT_EQ(probe().sum(x.data(), n), static_cast<float>(n));
  }
}

}  // namespace
}  // namespace tandem::testing
