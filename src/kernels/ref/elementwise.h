// See kernels/elementwise.h.
#pragma once

#include "kernels/elementwise.h"

namespace tandem::kernels::ref {

void add(const Tensor& y, const Tensor& a, const Tensor& b);
void scale(const Tensor& y, const Tensor& x, double factor);
void accumulate(const Tensor& y, const Tensor& x);
void convert(const Tensor& y, const Tensor& x);

}  // namespace tandem::kernels::ref
