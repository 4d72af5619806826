#include "kernels/gelu.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

using kernels::GeluKind;

double argument(double x) { return 2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }

// Roundings that reach the gate, as a relative error: those of the argument of the exponential are magnified by its
// size; the others number about twenty.
double gate_error(double x, GeluKind kind) {
  double exponent = kind == GeluKind::tanh ? 4 * std::abs(argument(x)) : x * x;
  return (20 + exponent) * kUnit;
}

double gate(double x, GeluKind kind) {
  return kind == GeluKind::tanh ? 1 / (1 + std::exp(-argument(x))) : 0.5 * std::erfc(-x / std::sqrt(2.0));
}

double gate_slope(double x, GeluKind kind) {
  if (kind == GeluKind::erf) return std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
  return gate(x, kind) * gate(-x, kind) * 2 * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

struct Case {
  int64_t rows, n, gap;
  DType dtype;
  GeluKind kind;
};

void check(const Case& c) {
  SCOPED_TRACE(::testing::Message() << c.rows << " x " << c.n << ", " << dtype_name(c.dtype) << ", kind "
                                    << static_cast<int>(c.kind));
  Guarded x(c.dtype, {c.rows, c.n}, c.n + c.gap), y(c.dtype, {c.rows, c.n}, c.n + c.gap);
  Guarded dy(c.dtype, {c.rows, c.n}, c.n + c.gap);
  x.fill_normal(1, 3);
  dy.fill_normal(2);
  InDouble x64(x), dy64(dy);
  Guarded y64(DType::f64, {c.rows, c.n});
  kernels::gelu_forward(context(), y64, x64, c.kind);
  kernels::gelu_forward(context(), y, x, c.kind);
  expect_close(y, y64, "y", [&](int64_t t, int64_t i) {
    double v = load_element(x, t, i);
    return gate_error(v, c.kind) * std::abs(v) * gate(v, c.kind);
  });
  kernels::gelu_backward(context(), y64, dy64, x64, c.kind);
  auto bound = [&](int64_t t, int64_t i) {
    double v = load_element(x, t, i);
    double terms = gate(v, c.kind) + std::abs(v) * gate_slope(v, c.kind);
    return gate_error(v, c.kind) * terms * std::abs(load_element(dy64, t, i));
  };
  kernels::gelu_backward(context(), y, dy, x, c.kind);
  expect_close(y, y64, "dx", bound);
  kernels::gelu_backward(context(), dy, dy, x, c.kind);  // in place
  EXPECT_TRUE(same_bits(dy, y));
  EXPECT_TRUE(x.intact() && y.intact() && dy.intact());
}

TEST(Gelu, ForwardAndBackward) {
  for (int64_t n : kAwkwardSizes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (GeluKind kind : {GeluKind::tanh, GeluKind::erf}) {
        check({.rows = 5, .n = n, .gap = 0, .dtype = dtype, .kind = kind});
        check({.rows = 5, .n = n, .gap = 3, .dtype = dtype, .kind = kind});
      }
    }
  }
}

TEST(Gelu, FarFromZero) {
  std::vector<float> values = {-1e4f, -300, -50, -14, -10, 10, 50, 300, 1e4f, 0.0f, -0.0f, 1e-20f};
  int64_t n = static_cast<int64_t>(values.size());
  Tensor x(values.data(), DType::f32, {1, n});
  for (GeluKind kind : {GeluKind::tanh, GeluKind::erf}) {
    Guarded y(DType::f32, {1, n}), one(DType::f32, {1, n}), dx(DType::f32, {1, n});
    one.fill(1);
    kernels::gelu_forward(context(), y, x, kind);
    kernels::gelu_backward(context(), dx, one, x, kind);
    for (int64_t i = 0; i < n; ++i) {
      double v = values[static_cast<size_t>(i)];
      EXPECT_NEAR(load_element(y, 0, i), v > 5 ? v : v < -5 ? 0 : v * 0.5, 1e-12) << v;
      EXPECT_NEAR(load_element(dx, 0, i), v > 5 ? 1 : v < -5 ? 0 : 0.5, 1e-12) << v;
    }
  }
}

}  // namespace
}  // namespace tandem::testing
