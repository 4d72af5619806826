// Span plans of sequences and blocks. Each plan's runs follow the ranges, which cover their tokens without a gap.
#pragma once

#include <span>

#include "kernels/span_plan.h"
#include "text/batch.h"

namespace tandem {

// Each token sees its sequence up to itself, or all of it.
void plan_causal(SpanPlan& plan, std::span<const TokenRange> sequences);
void plan_bidirectional(SpanPlan& plan, std::span<const TokenRange> sequences);

// Each token sees the latest `window` tokens of its sequence up to itself.
void plan_window(SpanPlan& plan, std::span<const TokenRange> sequences, int64_t window);

// What the tokens of blocks see of their own block, up to themselves; and of the reader.
void plan_own_blocks(SpanPlan& plan, std::span<const WriterBlock> blocks);
void plan_reads(SpanPlan& plan, std::span<const WriterBlock> blocks);
// Both in one softmax: source 0 is the writer, source 1 the reader.
void plan_joint(SpanPlan& plan, std::span<const WriterBlock> blocks);

}  // namespace tandem
