#include "kernels/swiglu.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

// About twenty roundings reach the sigmoid (exponential, sum, division), a few more the products.
constexpr double kRoundings = 32;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void check(DType dtype, int64_t n, int64_t gap) {
  SCOPED_TRACE(::testing::Message() << n << " wide, " << dtype_name(dtype) << ", gap " << gap);
  constexpr int64_t kRows = 5;
  Guarded x(dtype, {kRows, 2 * n}, 2 * n + gap), y(dtype, {kRows, n}, n + gap);
  Guarded dy(dtype, {kRows, n}, n + gap), dx(dtype, {kRows, 2 * n}, 2 * n + gap);
  x.fill_normal(1, 3);
  dy.fill_normal(2);
  InDouble x64(x), dy64(dy);
  Guarded y64(DType::f64, {kRows, n}), dx64(DType::f64, {kRows, 2 * n});
  kernels::swiglu_forward(context(), y64, x64);
  kernels::swiglu_forward(context(), y, x);
  kernels::swiglu_backward(context(), dx64, dy64, x64);
  kernels::swiglu_backward(context(), dx, dy, x);
  // The exponential's argument is rounded relative to its size.
  auto relative = [&](double a) { return (kRoundings + std::abs(a)) * kUnit; };
  expect_close(y, y64, "y", [&](int64_t t, int64_t i) {
    return relative(load_element(x, t, i)) * std::abs(load_element(y64, t, i));
  });
  expect_close(dx, dx64, "dx", [&](int64_t t, int64_t i) {
    double a = load_element(x, t, i % n), d = std::abs(load_element(dy, t, i % n));
    if (i >= n) return relative(a) * std::abs(load_element(dx64, t, i));
    double terms = sigmoid(a) + std::abs(a) * sigmoid(a) * sigmoid(-a);
    return relative(a) * d * std::abs(load_element(x, t, n + i)) * terms;
  });
  EXPECT_TRUE(x.intact() && y.intact() && dx.intact());
}

TEST(Swiglu, ForwardAndBackward) {
  for (int64_t n : kAwkwardSizes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      check(dtype, n, 0);
      check(dtype, n, 3);
    }
  }
}

TEST(Swiglu, FarFromZero) {
  std::vector<float> values = {-1e4f, -300, 300, 1e4f, 2, 3, 4, 5};
  Tensor x(values.data(), DType::f32, {1, 8});
  Guarded y(DType::f32, {1, 4}), one(DType::f32, {1, 4}), dx(DType::f32, {1, 8});
  one.fill(1);
  kernels::swiglu_forward(context(), y, x);
  kernels::swiglu_backward(context(), dx, one, x);
  for (int64_t i = 0; i < 4; ++i) {
    double a = values[static_cast<size_t>(i)], b = values[static_cast<size_t>(i + 4)];
    EXPECT_NEAR(load_element(y, 0, i), a > 0 ? a * b : 0, 1e-12);
    EXPECT_NEAR(load_element(dx, 0, i), a > 0 ? b : 0, 1e-12);
    EXPECT_NEAR(load_element(dx, 0, 4 + i), a > 0 ? a : 0, 1e-12);
  }
}

TEST(Swiglu, SameBitsForAnyNumberOfThreads) {
  Guarded x(DType::f32, {300, 48}), dy(DType::f32, {300, 24});
  x.fill_normal(3);
  dy.fill_normal(4);
  Guarded y(DType::f32, {300, 24}), dx(DType::f32, {300, 48});
  kernels::swiglu_forward(context(1), y, x);
  kernels::swiglu_backward(context(1), dx, dy, x);
  for (int threads : {2, 3}) {
    Guarded other(DType::f32, {300, 24}), d_other(DType::f32, {300, 48});
    kernels::swiglu_forward(context(threads), other, x);
    kernels::swiglu_backward(context(threads), d_other, dy, x);
    EXPECT_TRUE(same_bits(y, other) && same_bits(dx, d_other));
  }
}

}  // namespace
}  // namespace tandem::testing
