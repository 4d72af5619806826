// Span attention in double precision, by plain loops over queries and keys, for operands of any type.
//
// Where the operands are bf16 (or bf16_in_f64) it rounds where the bf16 kernels round: the factor of the second product
// of each pass. Forward: p = 2^(x - M) with x the scaled score in powers of two and M the smallest integer not below
// any x of the query; the sum of the p stays unrounded. (Against an integer M, rounding does not depend on which keys
// were seen first.) Backward: p = exp(score - lse) for dv, and p (dp - delta) + dlse p_source for dq and dk before the
// factor `scale`.
#pragma once

#include "kernels/span_attention.h"

namespace tandem::ref {

using kernels::KeyValueGradient;
using kernels::KeyValueSource;

void span_attention_forward(const Tensor& o, const Tensor& lse, const Tensor& source_lse, const Tensor& q,
                            std::span<const KeyValueSource> sources, const SpanPlan& plan, double scale);

void span_attention_backward(const Tensor& dq, std::span<const KeyValueGradient> gradients, const Tensor& d_o,
                             const Tensor& o, const Tensor& lse, const Tensor& d_source_lse, const Tensor& source_lse,
                             const Tensor& q, std::span<const KeyValueSource> sources, const SpanPlan& plan,
                             double scale);

}  // namespace tandem::ref
