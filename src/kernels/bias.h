// A vector added to every row: the bias of a linear layer.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

// y[t, :] += bias. y [T, n] f32 or bf16, bias [n] f32 (or reference types).
void add_bias(Context& ctx, const Tensor& y, const Tensor& bias);

// dbias [n] f32 += the sum of the rows of dy [T, n], f32 or bf16, in a fixed order whatever the number of threads.
void bias_backward(Context& ctx, const Tensor& dbias, const Tensor& dy);

}  // namespace tandem::kernels
