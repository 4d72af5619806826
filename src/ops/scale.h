// A value times a number.
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// Multiplies x, on the residual stream, in x itself: x must not be needed as it was.
void scale_in_place(Tape& tape, Var x, double factor);

}  // namespace tandem::ops
