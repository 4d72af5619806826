#include "kernels/ref/adamw.h"

#include <cmath>

namespace tandem::kernels::ref {

void adamw(const Tensor& w, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& compute,
           const AdamWStep& step) {
  double correction1 = 1.0 - std::pow(step.beta1, static_cast<double>(step.step));
  double correction2 = 1.0 - std::pow(step.beta2, static_cast<double>(step.step));
  for (int64_t t = 0; t < w.rows(); ++t) {
    for (int64_t i = 0; i < w.row_size(); ++i) {
      double gradient = load_element(g, t, i) * step.gradient_scale;
      double mean = step.beta1 * load_element(m, t, i) + (1.0 - step.beta1) * gradient;
      double square = step.beta2 * load_element(v, t, i) + (1.0 - step.beta2) * gradient * gradient;
      double change = mean / correction1 / (std::sqrt(square / correction2) + step.eps);
      double weight = load_element(w, t, i) * (1.0 - step.learning_rate * step.weight_decay);
      weight -= step.learning_rate * change;
      store_element(m, t, i, mean);
      store_element(v, t, i, square);
      store_element(w, t, i, weight);
      if (compute.defined()) store_element(compute, t, i, weight);
    }
  }
}

double sum_of_squares(const Tensor& x) {
  double sum = 0;
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t i = 0; i < x.row_size(); ++i) sum += load_element(x, t, i) * load_element(x, t, i);
  }
  return sum;
}

}  // namespace tandem::kernels::ref
