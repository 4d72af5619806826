// Root-mean-square norm (Zhang and Sennrich 2019): y = x * r * weight with r = 1 / sqrt(mean(x^2) + eps), per row.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

// x [T, d] f32, weight [d] f32, y [T, d] f32 or bf16, r [T] f32 (kept for the gradient; may be undefined).
void rmsnorm_forward(Context& ctx, const Tensor& y, const Tensor& r, const Tensor& x, const Tensor& weight, double eps);

// dx [T, d] = gradient for x, or += when `accumulate`; dweight [d] += gradient for weight.
// dy [T, d] f32 or bf16. The sum over rows for dweight has a fixed order, whatever the number of threads.
void rmsnorm_backward(Context& ctx, const Tensor& dx, bool accumulate, const Tensor& dweight, const Tensor& dy,
                      const Tensor& x, const Tensor& r, const Tensor& weight);

}  // namespace tandem::kernels
