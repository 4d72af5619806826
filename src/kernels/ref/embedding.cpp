#include "kernels/ref/embedding.h"

namespace tandem::kernels::ref {

void embedding_forward(const Tensor& y, const Tensor& table, std::span<const int32_t> ids) {
  for (int64_t t = 0; t < y.rows(); ++t) {
    int32_t id = ids[static_cast<size_t>(t)];
    for (int64_t i = 0; i < y.row_size(); ++i) store_element(y, t, i, load_element(table, id, i));
  }
}

void embedding_backward(const Tensor& dtable, const Tensor& dy, std::span<const int32_t> ids) {
  for (int64_t t = 0; t < dy.rows(); ++t) {
    int32_t id = ids[static_cast<size_t>(t)];
    for (int64_t i = 0; i < dy.row_size(); ++i) {
      store_element(dtable, id, i, load_element(dtable, id, i) + load_element(dy, t, i));
    }
  }
}

}  // namespace tandem::kernels::ref
