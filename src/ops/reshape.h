// The same elements in rows of another length.
#pragma once

#include "ops/tape.h"

namespace tandem::ops {

// x, whose rows follow each other without gaps, as [rows, columns] with as many elements. x must not be used otherwise
// unless its gradient is shared.
Var reshape(Tape& tape, Var x, int64_t rows, int64_t columns);

}  // namespace tandem::ops
