#include "kernels/ref/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tandem::kernels::ref {

void cross_entropy(const Tensor& loss, const Tensor& dlogits, std::span<int32_t> best, const Tensor& logits,
                   std::span<const int32_t> labels, double multiplier, double scale) {
  int64_t vocabulary = logits.row_size();
  for (int64_t t = 0; t < logits.rows(); ++t) {
    size_t row = static_cast<size_t>(t);
    int32_t label = labels[row];
    double peak = -std::numeric_limits<double>::infinity();
    int64_t largest = 0;
    for (int64_t v = 0; v < vocabulary; ++v) {
      peak = std::max(peak, multiplier * load_element(logits, t, v));
      if (load_element(logits, t, v) > load_element(logits, t, largest)) largest = v;
    }
    if (!best.empty()) best[row] = static_cast<int32_t>(largest);
    double total = 0;
    for (int64_t v = 0; v < vocabulary; ++v) total += std::exp(multiplier * load_element(logits, t, v) - peak);
    bool ignored = label == kIgnoredLabel;
    double lse = peak + std::log(total);
    store_element(loss, t, 0, ignored ? 0.0 : lse - multiplier * load_element(logits, t, label));
    if (!dlogits.defined()) continue;
    for (int64_t v = 0; v < vocabulary; ++v) {
      double p = std::exp(multiplier * load_element(logits, t, v) - lse);
      store_element(dlogits, t, v, ignored ? 0.0 : scale * multiplier * (p - (v == label ? 1.0 : 0.0)));
    }
  }
}

}  // namespace tandem::kernels::ref
