#include "kernels/ref/bias.h"

namespace tandem::kernels::ref {

void add_bias(const Tensor& y, const Tensor& bias) {
  for (int64_t t = 0; t < y.rows(); ++t) {
    for (int64_t i = 0; i < y.row_size(); ++i) {
      store_element(y, t, i, load_element(y, t, i) + load_element(bias.view({1, bias.elements()}), 0, i));
    }
  }
}

void bias_backward(const Tensor& dbias, const Tensor& dy) {
  Tensor sums = dbias.view({1, dbias.elements()});
  for (int64_t i = 0; i < dy.row_size(); ++i) {
    double sum = 0;
    for (int64_t t = 0; t < dy.rows(); ++t) sum += load_element(dy, t, i);
    store_element(sums, 0, i, load_element(sums, 0, i) + sum);
  }
}

}  // namespace tandem::kernels::ref
