// Linear layers without bias: y = x W^T with W stored [out, in].
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// x [T, in], weight [out, in] -> activation [T, out]; `shared_grad` when several consumers add to its gradient.
Var linear(Tape& tape, Var x, const Weight& weight, bool shared_grad = false);

// residual + x W^T, on the residual stream: the end of an attention or MLP branch.
Var linear_residual(Tape& tape, Var residual, Var x, const Weight& weight);

// y = x W^T alone, by the packed weight where there is one and the tape does not record.
void multiply(Tape& tape, const Tensor& y, const Tensor& x, const Weight& weight);

}  // namespace tandem::ops
