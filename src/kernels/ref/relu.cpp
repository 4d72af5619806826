#include "kernels/ref/relu.h"

namespace tandem::kernels::ref {

void relu_forward(const Tensor& y, const Tensor& x) {
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t i = 0; i < x.row_size(); ++i) {
      double v = load_element(x, t, i);
      store_element(y, t, i, v <= 0 ? 0 : v);
    }
  }
}

void relu_backward(const Tensor& dx, const Tensor& dy, const Tensor& y) {
  for (int64_t t = 0; t < y.rows(); ++t) {
    for (int64_t i = 0; i < y.row_size(); ++i) {
      store_element(dx, t, i, load_element(y, t, i) > 0 ? load_element(dy, t, i) : 0);
    }
  }
}

}  // namespace tandem::kernels::ref
