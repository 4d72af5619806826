#include "kernels/ref/packed_matmul.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

namespace tandem::kernels::ref {
namespace {

// The integers times their scale, in the float operations of the kernels, so that both round to the same integers.
void quantise(std::span<double> x) {
  float most = 0;
  bool finite = true;
  for (double value : x) {
    most = std::max(most, std::abs(static_cast<float>(value)));
    finite = finite && std::isfinite(static_cast<float>(value));
  }
  if (!finite) return std::fill(x.begin(), x.end(), std::numeric_limits<double>::quiet_NaN());
  if (most < 1e-30f) return std::fill(x.begin(), x.end(), 0.0);
  float inverse = 127.0f / most, scale = most * (1.0f / 127.0f);
  for (double& value : x) value = static_cast<double>(std::nearbyint(static_cast<float>(value) * inverse)) * scale;
}

// A row of x as the format multiplies it.
void round_row(std::span<double> row, WeightFormat format) {
  if (format == WeightFormat::bf16) {
    for (double& value : row) value = round_to_bf16(value);
  }
  auto group = static_cast<size_t>(activation_group(format));
  if (!group) return;
  for (size_t i = 0; i < row.size(); i += group) quantise(row.subspan(i, std::min(group, row.size() - i)));
}

}  // namespace

void packed_matmul(const Tensor& y, const Tensor& x, const PackedWeight& weight, Store store) {
  std::vector<double> w(static_cast<size_t>(weight.outputs() * weight.inputs()));
  for (int64_t n = 0; n < weight.outputs(); ++n) {
    for (int64_t k = 0; k < weight.inputs(); ++k)
      w[static_cast<size_t>(n * weight.inputs() + k)] = weight.element(n, k);
  }
  std::vector<double> row(static_cast<size_t>(weight.inputs()));
  for (int64_t m = 0; m < x.rows(); ++m) {
    for (int64_t k = 0; k < weight.inputs(); ++k) row[static_cast<size_t>(k)] = load_element(x, m, k);
    round_row(row, weight.format());
    for (int64_t n = 0; n < weight.outputs(); ++n) {
      const double* from = w.data() + n * weight.inputs();
      double sum = store == Store::accumulate ? load_element(y, m, n) : 0.0;
      for (size_t k = 0; k < row.size(); ++k) sum += row[k] * from[k];
      store_element(y, m, n, sum);
    }
  }
}

}  // namespace tandem::kernels::ref
