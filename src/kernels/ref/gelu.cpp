#include "kernels/ref/gelu.h"

#include <cmath>
#include <numbers>

namespace tandem::kernels::ref {
namespace {

constexpr double kCubic = 0.044715;
const double kRootTwoOverPi = std::sqrt(2.0 / std::numbers::pi);

// The factor of x: 0.5 (1 + tanh(u)) or Phi(x), in forms that do not cancel for negative x.
double gate(double x, GeluKind kind) {
  if (kind == GeluKind::erf) return 0.5 * std::erfc(-x / std::numbers::sqrt2);
  double u = kRootTwoOverPi * (x + kCubic * x * x * x);
  return 1.0 / (1.0 + std::exp(-2.0 * u));
}

double gate_slope(double x, GeluKind kind) {
  if (kind == GeluKind::erf) return std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
  double du = kRootTwoOverPi * (1.0 + 3.0 * kCubic * x * x);
  return 2.0 * du * gate(x, kind) * gate(-x, kind);
}

}  // namespace

void gelu_forward(const Tensor& y, const Tensor& x, GeluKind kind) {
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t i = 0; i < x.row_size(); ++i) {
      double v = load_element(x, t, i);
      store_element(y, t, i, v * gate(v, kind));
    }
  }
}

void gelu_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, GeluKind kind) {
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t i = 0; i < x.row_size(); ++i) {
      double v = load_element(x, t, i);
      store_element(dx, t, i, load_element(dy, t, i) * (gate(v, kind) + v * gate_slope(v, kind)));
    }
  }
}

}  // namespace tandem::kernels::ref
