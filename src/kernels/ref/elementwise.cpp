#include "kernels/ref/elementwise.h"

namespace tandem::kernels::ref {

void add(const Tensor& y, const Tensor& a, const Tensor& b) {
  for (int64_t t = 0; t < y.rows(); ++t) {
    for (int64_t i = 0; i < y.row_size(); ++i) store_element(y, t, i, load_element(a, t, i) + load_element(b, t, i));
  }
}

void scale(const Tensor& y, const Tensor& x, double factor) {
  for (int64_t t = 0; t < y.rows(); ++t) {
    for (int64_t i = 0; i < y.row_size(); ++i) store_element(y, t, i, factor * load_element(x, t, i));
  }
}

void accumulate(const Tensor& y, const Tensor& x) { add(y, y, x); }

void convert(const Tensor& y, const Tensor& x) {
  for (int64_t t = 0; t < y.rows(); ++t) {
    for (int64_t i = 0; i < y.row_size(); ++i) store_element(y, t, i, load_element(x, t, i));
  }
}

}  // namespace tandem::kernels::ref
