// SwiGLU (Shazeer 2020): y = silu(a) * b with silu(a) = a / (1 + exp(-a)), for x = [a, b] side by side.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

// x [T, 2n] -> y [T, n], f32 throughout or bf16 throughout.
void swiglu_forward(Context& ctx, const Tensor& y, const Tensor& x);

// dx [T, 2n] is overwritten; dy [T, n] and x [T, 2n] of its type.
void swiglu_backward(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& x);

}  // namespace tandem::kernels
