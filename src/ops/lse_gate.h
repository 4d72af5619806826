// Merges two attentions by a gate on their log-sum-exps (kernels/lse_gate.h has the formula).
#pragma once

#include "ops/span_attention.h"
#include "ops/tape.h"

namespace tandem::ops {

// a and b: attentions with one source each and their log-sum-exps; bias [H, 2], temperature [H] -> [T, H * D].
Var lse_gate(Tape& tape, const AttentionOutput& a, const AttentionOutput& b, const Weight& bias,
             const Weight& temperature);

}  // namespace tandem::ops
