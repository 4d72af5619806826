// See kernels/adamw.h.
#pragma once

#include "kernels/adamw.h"

namespace tandem::kernels::ref {

void adamw(const Tensor& w, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& compute,
           const AdamWStep& step);
void adamw(const Tensor& w, const Tensor& g, const AdamWState& state, const Tensor& compute, const AdamWStep& step,
           const StateRounding& rounding);
double sum_of_squares(const Tensor& x);

}  // namespace tandem::kernels::ref
