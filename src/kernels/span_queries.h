// The forward pass of span attention query by query, for few queries with keys that nobody else sees: decoding.
#pragma once

#include "kernels/context.h"
#include "kernels/cpu/span_attention.h"
#include "kernels/span_attention.h"

namespace tandem::kernels {

// As the arguments of span_attention_forward(), which has checked them; source_lse is filled with -infinity.
struct AttentionForward {
  const Tensor& o;
  const Tensor& lse;
  const Tensor& source_lse;
  const Tensor& q;
  std::span<const KeyValueSource> sources;
  float scale;
};

// Row `row` of one head of [T, heads, D].
cpu::HeadRows head_rows(const Tensor& t, int64_t row, int64_t head);

// A query's keys are cut into parts by their number and places alone: neither other queries nor threads change a bit of
// its result.
void attend_by_query(Context& ctx, const cpu::AttentionPath& path, const AttentionForward& in, const SpanPlan& plan);

}  // namespace tandem::kernels
