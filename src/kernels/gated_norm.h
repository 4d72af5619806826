// The end of a gated retention (Sun et al. 2024, "You Only Cache Once"): every head's output divided by its root mean
// square, times a gate: y = silu(g) * o / sqrt(mean(o^2) + eps), with the mean over the features of one head and
// silu(g) = g / (1 + exp(-g)). The norm has no weight.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

// y, o and g [T, H, D], f32 throughout or bf16 throughout.
void gated_norm_forward(Context& ctx, const Tensor& y, const Tensor& o, const Tensor& g, double eps);

// d_o and dg [T, H, D] are overwritten; dy, o and g as above, and of the same type.
void gated_norm_backward(Context& ctx, const Tensor& d_o, const Tensor& dg, const Tensor& dy, const Tensor& o,
                         const Tensor& g, double eps);

}  // namespace tandem::kernels
