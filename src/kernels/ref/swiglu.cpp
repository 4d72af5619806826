#include "kernels/ref/swiglu.h"

#include <cmath>

namespace tandem::kernels::ref {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

void swiglu_forward(const Tensor& y, const Tensor& x) {
  int64_t n = y.row_size();
  for (int64_t t = 0; t < y.rows(); ++t) {
    for (int64_t i = 0; i < n; ++i) {
      double a = load_element(x, t, i);
      store_element(y, t, i, a * sigmoid(a) * load_element(x, t, n + i));
    }
  }
}

void swiglu_backward(const Tensor& dx, const Tensor& dy, const Tensor& x) {
  int64_t n = dy.row_size();
  for (int64_t t = 0; t < dy.rows(); ++t) {
    for (int64_t i = 0; i < n; ++i) {
      double a = load_element(x, t, i), b = load_element(x, t, n + i), d = load_element(dy, t, i);
      store_element(dx, t, i, d * b * (sigmoid(a) + a * sigmoid(a) * sigmoid(-a)));
      store_element(dx, t, n + i, d * a * sigmoid(a));
    }
  }
}

}  // namespace tandem::kernels::ref
