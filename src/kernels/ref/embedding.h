// See kernels/embedding.h.
#pragma once

#include "kernels/embedding.h"

namespace tandem::kernels::ref {

void embedding_forward(const Tensor& y, const Tensor& table, std::span<const int32_t> ids);
void embedding_backward(const Tensor& dtable, const Tensor& dy, std::span<const int32_t> ids);

}  // namespace tandem::kernels::ref
