// Rows put together from the rows of other values: sequences laid out anew, inputs made of several parts.
#pragma once

#include <initializer_list>
#include <span>

#include "ops/tape.h"

namespace tandem::ops {

// Row r of the result gets row `rows[r]` of x, or nothing where that is negative.
struct RowsOf {
  Var x = nullptr;                // [N, d]
  std::span<const int32_t> rows;  // no row of x is taken twice
};

// Sum of the sources on the residual stream, [rows, d]; zeros where no source gives anything. `rows` of all sources
// have one length and must outlive backward(). LogicError for rows that are taken twice or lie beyond x.
Var gather_rows(Tape& tape, std::initializer_list<RowsOf> sources);

// The same of one source as an activation, [rows, d], that may have several consumers. x is an activation.
Var gather_activations(Tape& tape, const RowsOf& source);

// x [T, d] on the residual stream, to which sublayers can add. An activation needs a shared gradient when it is used
// otherwise as well.
Var to_residual(Tape& tape, Var x);

}  // namespace tandem::ops
