#include "kernels/ref/rmsnorm.h"

#include <cmath>
#include <vector>

#include "kernels/ref/vector.h"

namespace tandem::kernels::ref {

void rmsnorm_forward(const Tensor& y, const Tensor& r, const Tensor& x, const Tensor& weight, double eps) {
  int64_t d = x.row_size();
  for (int64_t t = 0; t < x.rows(); ++t) {
    double squares = 0;
    for (int64_t i = 0; i < d; ++i) squares += load_element(x, t, i) * load_element(x, t, i);
    double scale = 1.0 / std::sqrt(squares / static_cast<double>(d) + eps);
    if (r.defined()) store_vector(r, t, scale);
    for (int64_t i = 0; i < d; ++i) store_element(y, t, i, load_element(x, t, i) * scale * load_vector(weight, i));
  }
}

void rmsnorm_backward(const Tensor& dx, bool accumulate, const Tensor& dweight, const Tensor& dy, const Tensor& x,
                      const Tensor& r, const Tensor& weight) {
  int64_t d = x.row_size();
  std::vector<double> weight_sums(static_cast<size_t>(d), 0.0);
  for (int64_t t = 0; t < x.rows(); ++t) {
    double scale = load_vector(r, t), products = 0;
    for (int64_t i = 0; i < d; ++i) {
      double g = load_element(dy, t, i), normed = load_element(x, t, i) * scale;
      products += g * load_vector(weight, i) * normed;
      weight_sums[static_cast<size_t>(i)] += g * normed;
    }
    double mean = products / static_cast<double>(d);
    for (int64_t i = 0; i < d; ++i) {
      double g = load_element(dy, t, i) * load_vector(weight, i);
      double gradient = scale * (g - load_element(x, t, i) * scale * mean);
      store_element(dx, t, i, gradient + (accumulate ? load_element(dx, t, i) : 0.0));
    }
  }
  for (int64_t i = 0; i < d; ++i) add_to_vector(dweight, i, weight_sums[static_cast<size_t>(i)]);
}

}  // namespace tandem::kernels::ref
