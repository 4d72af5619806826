// Sums and conversions of whole tensors [T, n].
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

// y = a + b; all f32 (or reference types). y may be a or b.
void add(Context& ctx, const Tensor& y, const Tensor& a, const Tensor& b);

// y += x; y f32, x f32 or bf16.
void accumulate(Context& ctx, const Tensor& y, const Tensor& x);

// y = factor * x; f32 or reference types. y may be x.
void scale(Context& ctx, const Tensor& y, const Tensor& x, double factor);

// y = x with conversion between f32 and bf16 (or reference types).
void convert(Context& ctx, const Tensor& y, const Tensor& x);

}  // namespace tandem::kernels
