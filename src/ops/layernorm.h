// LayerNorm of the residual stream (kernels/layernorm.h has the formula).
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// x [T, d] residual, weight and bias [d] -> activation [T, d] that may have several consumers.
Var layernorm(Tape& tape, Var x, const Weight& weight, const Weight& bias, double eps);

}  // namespace tandem::ops
