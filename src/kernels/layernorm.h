// Layer norm (Ba et al. 2016): y = (x - mean) * r * weight + bias with r = 1 / sqrt(var + eps), per row.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

// x [T, d] f32, weight and bias [d] f32, y [T, d] f32 or bf16; mean and r [T] f32 are kept for the gradient (both may
// be undefined).
void layernorm_forward(Context& ctx, const Tensor& y, const Tensor& mean, const Tensor& r, const Tensor& x,
                       const Tensor& weight, const Tensor& bias, double eps);

// dx [T, d] = gradient for x, or += when `accumulate`; dweight and dbias [d] +=. dy [T, d] f32 or bf16. Sums over rows
// have a fixed order, whatever the number of threads.
void layernorm_backward(Context& ctx, const Tensor& dx, bool accumulate, const Tensor& dweight, const Tensor& dbias,
                        const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& r, const Tensor& weight);

}  // namespace tandem::kernels
