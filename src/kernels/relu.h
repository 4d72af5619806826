// The rectifier: max(x, 0); NaN stays NaN.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

// x and y [T, n] of one type, f32 or bf16. y may be x.
void relu_forward(Context& ctx, const Tensor& y, const Tensor& x);

// dx = dy where y > 0, else 0, with y the forward result. dx may be dy.
void relu_backward(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& y);

}  // namespace tandem::kernels
