// See kernels/swiglu.h.
#pragma once

#include "kernels/swiglu.h"

namespace tandem::kernels::ref {

void swiglu_forward(const Tensor& y, const Tensor& x);
void swiglu_backward(const Tensor& dx, const Tensor& dy, const Tensor& x);

}  // namespace tandem::kernels::ref
