// Matrix products in double; see kernels/matmul.h.
#pragma once

#include "kernels/matmul.h"

namespace tandem::kernels::ref {

void matmul_nt(const Tensor& y, const Tensor& x, const Tensor& w, Store store);
void matmul_nn(const Tensor& dx, const Tensor& dy, const Tensor& w, Store store);
void matmul_tn(const Tensor& dw, const Tensor& dy, const Tensor& x, Store store);

}  // namespace tandem::kernels::ref
