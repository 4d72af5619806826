// The optimizer's passes over memory. AdamW: Loshchilov and Hutter 2019, algorithm 2 with bias correction.
#pragma once

#include "kernels/adamw_state.h"
#include "kernels/context.h"

namespace tandem::kernels {

struct AdamWStep {
  double learning_rate = 0;  // of this step and group
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;    // decoupled: w -= learning_rate * weight_decay * w, before the update
  double gradient_scale = 1;  // the gradient is multiplied by this first (clipping, mean over tokens)
  int64_t step = 1;           // 1-based, for the bias corrections
};

// w, g, m, v: n f32 values each; updates w, m, v. Where `compute` is defined (bf16) it receives the new w, rounded.
void adamw(Context& ctx, const Tensor& w, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& compute,
           const AdamWStep& step);

// The same with moments in the format of `state`; all operands contiguous, of n elements each. The update itself is
// computed with moments in float32, which are rounded when they are stored.
void adamw(Context& ctx, const Tensor& w, const Tensor& g, const AdamWState& state, const Tensor& compute,
           const AdamWStep& step, const StateRounding& rounding);

// Sum of squares of n f32 values, accumulated in double in a fixed order; infinite or NaN when a value is.
double sum_of_squares(Context& ctx, const Tensor& x);

}  // namespace tandem::kernels
