// Products with packed weights in double; see kernels/packed_matmul.h.
#pragma once

#include "kernels/packed_matmul.h"

namespace tandem::kernels::ref {

void packed_matmul(const Tensor& y, const Tensor& x, const PackedWeight& weight, Store store);

}  // namespace tandem::kernels::ref
