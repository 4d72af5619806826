// See kernels/relu.h.
#pragma once

#include "kernels/relu.h"

namespace tandem::kernels::ref {

void relu_forward(const Tensor& y, const Tensor& x);
void relu_backward(const Tensor& dx, const Tensor& dy, const Tensor& y);

}  // namespace tandem::kernels::ref
