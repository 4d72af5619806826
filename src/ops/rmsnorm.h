// RMSNorm of the residual stream (kernels/rmsnorm.h has the formula).
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// x [T, d] residual, weight [d] -> activation [T, d] that may have several consumers.
Var rmsnorm(Tape& tape, Var x, const Weight& weight, double eps);

}  // namespace tandem::ops
