// Some rows of a value: what stands in the others needs no more work.
#pragma once

#include <span>

#include "ops/tape.h"

namespace tandem::ops {

// x [T, d], ascending row numbers -> [rows.size(), d] of x's type; the gradient of the other rows is 0. `rows` must
// outlive backward(). LogicError for rows that are not ascending or not below T.
Var select_rows(Tape& tape, Var x, std::span<const int32_t> rows);

}  // namespace tandem::ops
