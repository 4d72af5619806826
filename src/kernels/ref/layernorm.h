// See kernels/layernorm.h.
#pragma once

#include "kernels/layernorm.h"

namespace tandem::kernels::ref {

void layernorm_forward(const Tensor& y, const Tensor& mean, const Tensor& r, const Tensor& x, const Tensor& weight,
                       const Tensor& bias, double eps);
void layernorm_backward(const Tensor& dx, bool accumulate, const Tensor& dweight, const Tensor& dbias, const Tensor& dy,
                        const Tensor& x, const Tensor& mean, const Tensor& r, const Tensor& weight);

}  // namespace tandem::kernels::ref
