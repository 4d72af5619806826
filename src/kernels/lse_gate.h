// Merges the outputs of two attentions by a gate on their log-sum-exps (the double decoder's optional logit biases):
//   g[h, t] = sigmoid(((lse_a + bias[h, 0]) - (lse_b + bias[h, 1])) * temperature[h]),  o = g * a + (1 - g) * b.
// With bias 0 and temperature 1 this is one softmax over the union of both key sets.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

// o, a, b [T, H, D] of one type; lse_a, lse_b [H, T] f32; bias [H, 2] and temperature [H] f32. -infinity is a legal
// lse.
void lse_gate_forward(Context& ctx, const Tensor& o, const Tensor& a, const Tensor& b, const Tensor& lse_a,
                      const Tensor& lse_b, const Tensor& bias, const Tensor& temperature);

// Overwrites da, db [T, H, D] and dlse_a, dlse_b [H, T]; adds to dbias [H, 2] and dtemperature [H].
void lse_gate_backward(Context& ctx, const Tensor& da, const Tensor& db, const Tensor& dlse_a, const Tensor& dlse_b,
                       const Tensor& dbias, const Tensor& dtemperature, const Tensor& d_o, const Tensor& a,
                       const Tensor& b, const Tensor& lse_a, const Tensor& lse_b, const Tensor& bias,
                       const Tensor& temperature);

}  // namespace tandem::kernels
