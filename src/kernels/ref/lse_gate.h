// The gate of two attentions in double precision, for operands of any type.
#pragma once

#include "tensor/tensor.h"

namespace tandem::ref {

void lse_gate_forward(const Tensor& o, const Tensor& a, const Tensor& b, const Tensor& lse_a, const Tensor& lse_b,
                      const Tensor& bias, const Tensor& temperature);

void lse_gate_backward(const Tensor& da, const Tensor& db, const Tensor& dlse_a, const Tensor& dlse_b,
                       const Tensor& dbias, const Tensor& dtemperature, const Tensor& d_o, const Tensor& a,
                       const Tensor& b, const Tensor& lse_a, const Tensor& lse_b, const Tensor& bias,
                       const Tensor& temperature);

}  // namespace tandem::ref
