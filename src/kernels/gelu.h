// GELU (Hendrycks and Gimpel 2016).
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

enum class GeluKind {
  tanh,  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  erf,   // 0.5 x (1 + erf(x / sqrt 2))
};

// x and y [T, n] of one type, f32 or bf16.
void gelu_forward(Context& ctx, const Tensor& y, const Tensor& x, GeluKind kind);

// dx = dy * gelu'(x). dx may be dy.
void gelu_backward(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& x, GeluKind kind);

}  // namespace tandem::kernels
