#include "kernels/ref/gated_norm.h"

#include <cmath>

namespace tandem::kernels::ref {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double silu_slope(double x) { return sigmoid(x) + x * sigmoid(x) * sigmoid(-x); }

// Of the features [first, first + n) of row t.
double inverse_root_mean_square(const Tensor& o, int64_t t, int64_t first, int64_t n, double eps) {
  double squares = 0;
  for (int64_t i = first; i < first + n; ++i) squares += load_element(o, t, i) * load_element(o, t, i);
  return 1 / std::sqrt(squares / static_cast<double>(n) + eps);
}

}  // namespace

void gated_norm_forward(const Tensor& y, const Tensor& o, const Tensor& g, double eps) {
  int64_t n = o.shape[2];
  for (int64_t t = 0; t < o.rows(); ++t) {
    for (int64_t first = 0; first < o.row_size(); first += n) {
      double r = inverse_root_mean_square(o, t, first, n, eps);
      for (int64_t i = first; i < first + n; ++i) {
        store_element(y, t, i, silu(load_element(g, t, i)) * load_element(o, t, i) * r);
      }
    }
  }
}

void gated_norm_backward(const Tensor& d_o, const Tensor& dg, const Tensor& dy, const Tensor& o, const Tensor& g,
                         double eps) {
  int64_t n = o.shape[2];
  for (int64_t t = 0; t < o.rows(); ++t) {
    for (int64_t first = 0; first < o.row_size(); first += n) {
      double r = inverse_root_mean_square(o, t, first, n, eps), products = 0;
      auto h = [&](int64_t i) { return load_element(dy, t, i) * silu(load_element(g, t, i)); };
      for (int64_t i = first; i < first + n; ++i) products += h(i) * load_element(o, t, i) * r;
      double mean = products / static_cast<double>(n);
      for (int64_t i = first; i < first + n; ++i) {
        double normed = load_element(o, t, i) * r;
        store_element(d_o, t, i, r * (h(i) - normed * mean));
        store_element(dg, t, i, load_element(dy, t, i) * normed * silu_slope(load_element(g, t, i)));
      }
    }
  }
}

}  // namespace tandem::kernels::ref
