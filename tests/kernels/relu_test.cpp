#include "kernels/relu.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

void check(int64_t n, int64_t gap, DType dtype) {
  SCOPED_TRACE(::testing::Message() << n << ", " << dtype_name(dtype));
  Guarded x(dtype, {5, n}, n + gap), y(dtype, {5, n}, n + gap), dy(dtype, {5, n}, n + gap), dx(dtype, {5, n}, n + gap);
  x.fill_normal(1);
  dy.fill_normal(2);
  InDouble x64(x), y64(x), dy64(dy), dx64(dy);
  kernels::relu_forward(context(), y64, x64);
  kernels::relu_forward(context(), y, x);
  expect_close(y, y64, "y", [](int64_t, int64_t) { return 0.0; });
  kernels::relu_backward(context(), dx64, dy64, y64);
  kernels::relu_backward(context(), dx, dy, y);
  expect_close(dx, dx64, "dx", [](int64_t, int64_t) { return 0.0; });
  kernels::relu_backward(context(), dy, dy, y);  // in place
  EXPECT_TRUE(same_bits(dy, dx));
  kernels::relu_forward(context(), x, x);
  EXPECT_TRUE(same_bits(x, y));
  EXPECT_TRUE(x.intact() && y.intact() && dx.intact() && dy.intact());
}

TEST(Relu, ForwardAndBackward) {
  for (int64_t n : kAwkwardSizes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      check(n, 0, dtype);
      check(n, 3, dtype);
    }
  }
}

TEST(Relu, NaNStaysNaN) {
  std::vector<float> values = {-1, std::nanf(""), 2};
  Tensor x(values.data(), DType::f32, {1, 3});
  kernels::relu_forward(context(), x, x);
  EXPECT_EQ(values[0], 0);
  EXPECT_TRUE(std::isnan(values[1]));
  EXPECT_EQ(values[2], 2);
}

}  // namespace
}  // namespace tandem::testing
