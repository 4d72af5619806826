// GELU of an activation (kernels/gelu.h has the formulas).
#pragma once

#include "kernels/gelu.h"
#include "ops/tape.h"

namespace tandem::ops {

using kernels::GeluKind;

// x [T, n] -> [T, n].
Var gelu(Tape& tape, Var x, GeluKind kind);

}  // namespace tandem::ops
