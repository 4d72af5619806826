#include "kernels/bias.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

void check(int64_t rows, int64_t n, int64_t gap, DType dtype) {
  SCOPED_TRACE(::testing::Message() << rows << " x " << n << ", " << dtype_name(dtype));
  Guarded y(dtype, {rows, n}, n + gap), bias(DType::f32, {n}), sums(DType::f32, {n});
  y.fill_normal(1);
  bias.fill_normal(2);
  sums.fill(0.5);
  InDouble before(y), want(y), want_bias(bias), want_sums(sums);
  kernels::bias_backward(context(), want_sums, before);
  kernels::bias_backward(context(), sums, y);
  expect_close(sums, want_sums, "dbias", [&](int64_t i, int64_t) {
    double terms = 0.5;
    for (int64_t t = 0; t < rows; ++t) terms += std::abs(load_element(before, t, i));
    return static_cast<double>(rows + 2) * kUnit * terms;
  });
  kernels::add_bias(context(), want, want_bias);
  kernels::add_bias(context(), y, bias);
  expect_close(y, want, "y", [&](int64_t t, int64_t i) { return kUnit * std::abs(load_element(want, t, i)); });
  EXPECT_TRUE(y.intact() && bias.intact() && sums.intact());
}

TEST(Bias, ForwardAndBackward) {
  for (int64_t n : kAwkwardSizes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      check(1, n, 0, dtype);
      check(37, n, 3, dtype);
    }
  }
}

TEST(Bias, SameBitsForAnyNumberOfThreads) {
  Guarded dy(DType::f32, {300, 40}), one(DType::f32, {40}), other(DType::f32, {40});
  dy.fill_normal(3);
  for (int threads : {2, 3}) {
    one.fill(0);
    other.fill(0);
    kernels::bias_backward(context(1), one, dy);
    kernels::bias_backward(context(threads), other, dy);
    EXPECT_TRUE(same_bits(one, other)) << threads;
  }
}

}  // namespace
}  // namespace tandem::testing
