#include "kernels/adamw.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

kernels::AdamWStep step_of(int64_t step) {
  return {.learning_rate = 3e-3,
          .beta1 = 0.9,
          .beta2 = 0.95,
          .eps = 1e-8,
          .weight_decay = 0.1,
          .gradient_scale = 0.37,
          .step = step};
}

// m: a scaled gradient, two products with rounded factors, one sum: five roundings of the terms; v: seven, as the
// scaled gradient is squared. The change is a quotient of both: half of v's, all of m's, and six more of its own.
void check(int64_t rows, int64_t n, int64_t gap, int64_t count, bool with_compute) {
  SCOPED_TRACE(::testing::Message() << rows << " x " << n << ", gap " << gap << ", step " << count);
  Guarded w(DType::f32, {rows, n}, n + gap), g(DType::f32, {rows, n}, n + gap), m(DType::f32, {rows, n}, n + gap);
  Guarded v(DType::f32, {rows, n}, n + gap), compute(DType::bf16, {rows, n}, n + gap);
  w.fill_normal(1);
  g.fill_normal(2);
  m.fill_normal(3, 0.1);
  Rng rng(4, 0);
  v.set([&](int64_t, int64_t) { return 0.01 + 0.1 * rng.uniform(); });
  InDouble w64(w), g64(g), m64(m), v64(v), w_before(w), m_before(m);
  kernels::AdamWStep step = step_of(count);
  kernels::adamw(context(), w64, g64, m64, v64, {}, step);
  kernels::adamw(context(), w, g, m, v, with_compute ? compute.tensor() : Tensor(), step);
  auto m_terms = [&](int64_t t, int64_t i) {
    return 0.9 * std::abs(load_element(m_before, t, i)) + 0.1 * 0.37 * std::abs(load_element(g64, t, i));
  };
  expect_close(m, m64, "m", [&](int64_t t, int64_t i) { return 5 * kUnit * m_terms(t, i); });
  expect_close(v, v64, "v", [&](int64_t t, int64_t i) { return 7 * kUnit * load_element(v64, t, i); });
  expect_close(w, w64, "w", [&](int64_t t, int64_t i) {
    double corrected1 = 1 - std::pow(0.9, static_cast<double>(count));
    double corrected2 = 1 - std::pow(0.95, static_cast<double>(count));
    double change = step.learning_rate * m_terms(t, i) / corrected1 / std::sqrt(load_element(v64, t, i) / corrected2);
    return kUnit * (3 * std::abs(load_element(w_before, t, i)) + 15 * change);
  });
  if (with_compute) {
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(load_element(compute, t, i), round_to_bf16(load_element(w, t, i)));
      }
    }
  }
  EXPECT_TRUE(w.intact() && g.intact() && m.intact() && v.intact() && compute.intact());
}

TEST(AdamW, Update) {
  for (int64_t n : kAwkwardSizes) {
    for (int64_t count : {1, 2, 1000}) {
      check(3, n, 0, count, true);
      check(3, n, 5, count, false);
    }
  }
}

TEST(AdamW, ZeroGradientOnlyDecays) {
  Guarded w(DType::f32, {17}), zero(DType::f32, {17}), m(DType::f32, {17}), v(DType::f32, {17});
  w.fill(2);
  zero.fill(0);
  m.fill(0);
  v.fill(0);
  kernels::adamw(context(), w, zero, m, v, {}, step_of(1));
  for (int64_t i = 0; i < 17; ++i) EXPECT_EQ(load_element(w, i, 0), 2.0f * static_cast<float>(1 - 3e-3 * 0.1));
}

// Sums in double: the rounding of one addition per element at most.
TEST(SumOfSquares, AddsInDouble) {
  for (int64_t n : {1, 7, 16, 17, 65, 40000}) {
    for (int64_t gap : {0, 3}) {
      Guarded x(DType::f32, {3, n}, n + gap);
      x.fill_normal(1);
      InDouble x64(x);
      double want = kernels::sum_of_squares(context(), x64);
      double got = kernels::sum_of_squares(context(), x);
      EXPECT_NEAR(got, want, static_cast<double>(3 * n + 2) * 0x1p-53 * want);
      EXPECT_EQ(got, kernels::sum_of_squares(context(1), x));
      EXPECT_EQ(got, kernels::sum_of_squares(context(3), x));
      EXPECT_TRUE(x.intact());
    }
  }
}

TEST(SumOfSquares, ShowsWhatIsNotFinite) {
  Guarded x(DType::f32, {100});
  for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    x.fill_normal(1);
    x.tensor().as<float>()[77] = bad;
    EXPECT_FALSE(std::isfinite(kernels::sum_of_squares(context(), x)));
  }
  x.fill(3e38);  // the squares overflow f32 and not double
  EXPECT_TRUE(std::isfinite(kernels::sum_of_squares(context(), x)));
}

}  // namespace
}  // namespace tandem::testing
