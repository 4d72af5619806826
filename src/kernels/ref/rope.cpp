#include "kernels/ref/rope.h"

namespace tandem::kernels::ref {

void rope_apply(const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
                RopePairs pairs, bool inverse) {
  int64_t heads = x.shape[1], d = x.shape[2], half = cos.row_size();
  for (int64_t t = 0; t < x.rows(); ++t) {
    int32_t position = positions[static_cast<size_t>(t)];
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t i = 0; i < half; ++i) {
        int64_t first = head * d + (pairs == RopePairs::adjacent ? 2 * i : i);
        int64_t second = pairs == RopePairs::adjacent ? first + 1 : first + half;
        double c = load_element(cos, position, i), s = load_element(sin, position, i) * (inverse ? -1.0 : 1.0);
        double a = load_element(x, t, first), b = load_element(x, t, second);
        store_element(x, t, first, a * c - b * s);
        store_element(x, t, second, a * s + b * c);
      }
    }
  }
}

}  // namespace tandem::kernels::ref
