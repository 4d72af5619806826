// SwiGLU of an activation (kernels/swiglu.h has the formula).
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// x [T, 2n], whose only consumer this is -> [T, n].
Var swiglu(Tape& tape, Var x);

}  // namespace tandem::ops
