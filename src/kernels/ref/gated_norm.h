// See kernels/gated_norm.h.
#pragma once

#include "kernels/gated_norm.h"

namespace tandem::kernels::ref {

void gated_norm_forward(const Tensor& y, const Tensor& o, const Tensor& g, double eps);
void gated_norm_backward(const Tensor& d_o, const Tensor& dg, const Tensor& dy, const Tensor& o, const Tensor& g,
                         double eps);

}  // namespace tandem::kernels::ref
