// A bias, in place on the result of a product (kernels/bias.h).
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// x [T, n], an activation or on the residual stream, += bias [n]: x must not be needed as it was. Returns x.
Var add_bias(Tape& tape, Var x, const Weight& bias);

}  // namespace tandem::ops
