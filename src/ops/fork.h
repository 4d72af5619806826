// A second name for a value, with a gradient of its own that flows into the first.
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// The same elements as x. Lets operations that overwrite a gradient (attention's queries) share an operand; x must have
// been created with a shared gradient.
Var fork(Tape& tape, Var x);

}  // namespace tandem::ops
