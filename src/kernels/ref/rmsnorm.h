// See kernels/rmsnorm.h.
#pragma once

#include "kernels/rmsnorm.h"

namespace tandem::kernels::ref {

void rmsnorm_forward(const Tensor& y, const Tensor& r, const Tensor& x, const Tensor& weight, double eps);
void rmsnorm_backward(const Tensor& dx, bool accumulate, const Tensor& dweight, const Tensor& dy, const Tensor& x,
                      const Tensor& r, const Tensor& weight);

}  // namespace tandem::kernels::ref
