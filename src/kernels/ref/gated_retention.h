// See kernels/gated_retention.h. Here the state takes one token after the other.
#pragma once

#include "kernels/gated_retention.h"

namespace tandem::kernels::ref {

void gated_retention_forward(const Tensor& o, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& log_decay, const Tensor& states, const RetentionPlan& plan, double scale);
void gated_retention_backward(const Tensor& dq, const Tensor& dk, const Tensor& dv, const Tensor& d_decay,
                              const Tensor& d_o, const Tensor& q, const Tensor& k, const Tensor& v,
                              const Tensor& log_decay, const Tensor& states, const RetentionPlan& plan, double scale);
void log_decay_forward(const Tensor& y, const Tensor& x, double divisor);
void log_decay_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, double divisor);

}  // namespace tandem::kernels::ref
