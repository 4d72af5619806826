#include "kernels/ref/matmul.h"

#include <vector>

namespace tandem::kernels::ref {
namespace {

// All elements as doubles, [rows, columns] contiguous, transposed on request. The type is looked at once per element
// instead of once per multiplication.
std::vector<double> doubles(const Tensor& t, bool transposed) {
  int64_t rows = t.rows(), columns = t.row_size();
  std::vector<double> out(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < columns; ++i) {
      out[static_cast<size_t>(transposed ? i * rows + r : r * columns + i)] = load_element(t, r, i);
    }
  }
  return out;
}

// c[m, n] (+)= sum over k of a[m, k] b[k, n], in the order of k.
void multiply(const Tensor& c, const std::vector<double>& a, const std::vector<double>& b, int64_t k_size,
              Store store) {
  int64_t n = c.row_size();
  std::vector<double> row(static_cast<size_t>(n));
  for (int64_t m = 0; m < c.rows(); ++m) {
    std::fill(row.begin(), row.end(), 0.0);
    for (int64_t k = 0; k < k_size; ++k) {
      double factor = a[static_cast<size_t>(m * k_size + k)];
      const double* from = b.data() + k * n;
      for (int64_t i = 0; i < n; ++i) row[static_cast<size_t>(i)] += factor * from[i];
    }
    for (int64_t i = 0; i < n; ++i) {
      double before = store == Store::accumulate ? load_element(c, m, i) : 0.0;
      store_element(c, m, i, before + row[static_cast<size_t>(i)]);
    }
  }
}

}  // namespace

void matmul_nt(const Tensor& y, const Tensor& x, const Tensor& w, Store store) {
  multiply(y, doubles(x, false), doubles(w, true), x.row_size(), store);
}

void matmul_nn(const Tensor& dx, const Tensor& dy, const Tensor& w, Store store) {
  multiply(dx, doubles(dy, false), doubles(w, false), w.rows(), store);
}

void matmul_tn(const Tensor& dw, const Tensor& dy, const Tensor& x, Store store) {
  multiply(dw, doubles(dy, true), doubles(x, false), x.rows(), store);
}

}  // namespace tandem::kernels::ref
