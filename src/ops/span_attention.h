// Attention over a span plan (kernels/span_attention.h has the contract).
#pragma once

#include <array>
#include <span>

#include "kernels/span_plan.h"
#include "ops/rope.h"
#include "ops/tape.h"

namespace tandem::ops {

// Heads inside an activation: the queries, keys or values of some projection.
struct Heads {
  Var var = nullptr;
  HeadColumns columns;
  Tensor value() const { return columns.of(var->value); }
};

struct KeyValueHeads {
  Heads k;
  Heads v;
};

inline constexpr size_t kMostSources = 4;

struct AttentionOutput {
  Var o = nullptr;           // [T, H * D]
  Var source_lse = nullptr;  // [S, H, T] when asked for
};

// One softmax over all keys that the plan allows. `plan` must outlive backward(). Every column of a projection whose
// gradient is wanted must be used by exactly one of the operands, since its gradient is written column by column.
AttentionOutput span_attention(Tape& tape, const Heads& q, std::span<const KeyValueHeads> sources, const SpanPlan& plan,
                               double scale, bool with_source_lse = false);

}  // namespace tandem::ops
