// Norm of each head, times a gate (kernels/gated_norm.h has the formula).
#pragma once

#include "ops/span_attention.h"

namespace tandem::ops {

// o [T, H * D], whose only consumer this is, and the columns of the gates -> [T, H * D]. The gates may be columns of a
// projection that has other consumers of other columns: only these columns of its gradient are written.
Var gated_norm(Tape& tape, Var o, const Heads& gate, double eps);

}  // namespace tandem::ops
