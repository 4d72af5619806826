// Attention over a span plan: one softmax over all keys that a query may see, whatever source they come from.
// Forward: Dao et al. 2022 (tiles with a running maximum); backward recomputes the scores from the log-sum-exp.
//
// D is even and at most 256; LogicError when it is not, or when operands and plan do not fit together. Results are the
// same bits for any number of threads. Keys behind the last one that any query sees are never read.
//
// In bf16 the left operand of each second product is rounded to bf16: the probabilities, and the gradient of the scores
// before the factor `scale`. The reference rounds the same (ref/span_attention.h says how). Where the processor has no
// bf16 products, bf16 operands go to the plain loops of the reference.
#pragma once

#include <span>

#include "kernels/context.h"
#include "kernels/span_plan.h"

namespace tandem::cpu {
struct SpanAttentionKernels;
}

namespace tandem::kernels {

struct KeyValueSource {
  Tensor k;  // [Tk, Hkv, D]
  Tensor v;  // [Tk, Hkv, D]
};

// q and o [T, H, D]; query head h reads key head h * Hkv / H (grouped queries). f32 throughout or bf16 throughout
// (scores and softmax always f32). lse [H, T] f32 receives the log-sum-exp of the scaled scores of each query.
// source_lse [S, H, T] f32, when defined, receives it per source; -infinity where a query sees no key of a source.
// A query that sees no key at all gets o = 0 and lse = -infinity.
void span_attention_forward(Context& ctx, const Tensor& o, const Tensor& lse, const Tensor& source_lse, const Tensor& q,
                            std::span<const KeyValueSource> sources, const SpanPlan& plan, double scale);

struct KeyValueGradient {
  Tensor dk;  // [Tk, Hkv, D], f32 or bf16
  Tensor dv;
  bool accumulate = false;  // += instead of = (then f32)
};

// d_o [T, H, D] in the type of o. dq [T, H, D], f32 or bf16, is overwritten; keys and values that no query sees get
// zero (or keep what they have under accumulate). d_source_lse [S, H, T] f32, when defined, is the gradient of the
// per-source log-sum-exps, and source_lse must then be given too. Sums have a fixed order.
void span_attention_backward(Context& ctx, const Tensor& dq, std::span<const KeyValueGradient> gradients,
                             const Tensor& d_o, const Tensor& o, const Tensor& lse, const Tensor& d_source_lse,
                             const Tensor& source_lse, const Tensor& q, std::span<const KeyValueSource> sources,
                             const SpanPlan& plan, double scale);

// The same with kernels of the caller's choice, instead of those for ctx.isa().
void span_attention_forward(Context& ctx, const cpu::SpanAttentionKernels& kernels, const Tensor& o, const Tensor& lse,
                            const Tensor& source_lse, const Tensor& q, std::span<const KeyValueSource> sources,
                            const SpanPlan& plan, double scale);
void span_attention_backward(Context& ctx, const cpu::SpanAttentionKernels& kernels, const Tensor& dq,
                             std::span<const KeyValueGradient> gradients, const Tensor& d_o, const Tensor& o,
                             const Tensor& lse, const Tensor& d_source_lse, const Tensor& source_lse, const Tensor& q,
                             std::span<const KeyValueSource> sources, const SpanPlan& plan, double scale);

}  // namespace tandem::kernels
