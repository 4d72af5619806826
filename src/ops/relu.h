// max(x, 0) of an activation.
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// x [T, n] -> [T, n].
Var relu(Tape& tape, Var x);

}  // namespace tandem::ops
