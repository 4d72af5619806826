#include "kernels/ref/layernorm.h"

#include <cmath>
#include <vector>

#include "kernels/ref/vector.h"

namespace tandem::kernels::ref {

void layernorm_forward(const Tensor& y, const Tensor& mean, const Tensor& r, const Tensor& x, const Tensor& weight,
                       const Tensor& bias, double eps) {
  int64_t d = x.row_size();
  for (int64_t t = 0; t < x.rows(); ++t) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < d; ++i) sum += load_element(x, t, i);
    double center = sum / static_cast<double>(d);
    for (int64_t i = 0; i < d; ++i) squares += std::pow(load_element(x, t, i) - center, 2);
    double scale = 1.0 / std::sqrt(squares / static_cast<double>(d) + eps);
    if (mean.defined()) store_vector(mean, t, center);
    if (r.defined()) store_vector(r, t, scale);
    for (int64_t i = 0; i < d; ++i) {
      double normed = (load_element(x, t, i) - center) * scale;
      store_element(y, t, i, normed * load_vector(weight, i) + load_vector(bias, i));
    }
  }
}

void layernorm_backward(const Tensor& dx, bool accumulate, const Tensor& dweight, const Tensor& dbias, const Tensor& dy,
                        const Tensor& x, const Tensor& mean, const Tensor& r, const Tensor& weight) {
  int64_t d = x.row_size();
  std::vector<double> weight_sums(static_cast<size_t>(d), 0.0), bias_sums(static_cast<size_t>(d), 0.0);
  for (int64_t t = 0; t < x.rows(); ++t) {
    double center = load_vector(mean, t), scale = load_vector(r, t), sum = 0, products = 0;
    for (int64_t i = 0; i < d; ++i) {
      double normed = (load_element(x, t, i) - center) * scale, gradient = load_element(dy, t, i);
      double g = gradient * load_vector(weight, i);
      sum += g;
      products += g * normed;
      weight_sums[static_cast<size_t>(i)] += gradient * normed;
      bias_sums[static_cast<size_t>(i)] += gradient;
    }
    for (int64_t i = 0; i < d; ++i) {
      double normed = (load_element(x, t, i) - center) * scale;
      double g = load_element(dy, t, i) * load_vector(weight, i);
      double gradient = scale * (g - (sum + normed * products) / static_cast<double>(d));
      store_element(dx, t, i, gradient + (accumulate ? load_element(dx, t, i) : 0.0));
    }
  }
  for (int64_t i = 0; i < d; ++i) {
    add_to_vector(dweight, i, weight_sums[static_cast<size_t>(i)]);
    add_to_vector(dbias, i, bias_sums[static_cast<size_t>(i)]);
  }
}

}  // namespace tandem::kernels::ref
