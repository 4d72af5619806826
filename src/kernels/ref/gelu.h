// See kernels/gelu.h.
#pragma once

#include "kernels/gelu.h"

namespace tandem::kernels::ref {

void gelu_forward(const Tensor& y, const Tensor& x, GeluKind kind);
void gelu_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, GeluKind kind);

}  // namespace tandem::kernels::ref
