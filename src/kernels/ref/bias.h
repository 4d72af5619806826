// See kernels/bias.h.
#pragma once

#include "kernels/bias.h"

namespace tandem::kernels::ref {

void add_bias(const Tensor& y, const Tensor& bias);
void bias_backward(const Tensor& dbias, const Tensor& dy);

}  // namespace tandem::kernels::ref
