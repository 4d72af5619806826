// Gated retention of whole sequences (kernels/gated_retention.h has the formulas).
#pragma once

#include "kernels/gated_retention.h"
#include "ops/span_attention.h"

namespace tandem::ops {

// Log decays [T, H] (f32) of gates, which are columns of a projection with one feature per head: logsigmoid(x) /
// divisor. Of the projection's gradient only these columns are written.
Var log_decay(Tape& tape, const Heads& gates, double divisor);

struct RetentionOperands {
  Heads q;
  KeyValueHeads source;
  Var log_decay = nullptr;
};

// [T, H * D]. The operands may be columns of projections whose other columns have other consumers; `plan` must outlive
// backward(). Plans of whole sequences (RetentionPlan::add_sequence) take their states from the tape: `states` is
// undefined then. A pass that goes on with sequences brings the states of their caches, and has no gradient.
Var gated_retention(Tape& tape, const RetentionOperands& x, const RetentionPlan& plan, const Tensor& states,
                    double scale);

}  // namespace tandem::ops
