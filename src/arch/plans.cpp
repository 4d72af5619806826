#include "arch/plans.h"

namespace tandem {
namespace {

KeySpan causal(const TokenRange& range) { return {.source = 0, .begin = range.begin, .end = range.end, .shift = 0}; }

KeySpan whole(int32_t source, const TokenRange& range) {
  return {.source = source, .begin = range.begin, .end = range.end};
}

void add_run(SpanPlan& plan, const TokenRange& range) { plan.add_run(range.begin, range.end); }

}  // namespace

void plan_causal(SpanPlan& plan, std::span<const TokenRange> sequences) {
  plan.clear(1);
  for (const TokenRange& sequence : sequences) {
    add_run(plan, sequence);
    plan.add_span(causal(sequence));
  }
}

void plan_bidirectional(SpanPlan& plan, std::span<const TokenRange> sequences) {
  plan.clear(1);
  for (const TokenRange& sequence : sequences) {
    add_run(plan, sequence);
    plan.add_span(whole(0, sequence));
  }
}

void plan_window(SpanPlan& plan, std::span<const TokenRange> sequences, int64_t window) {
  plan.clear(1);
  for (const TokenRange& sequence : sequences) {
    add_run(plan, sequence);
    KeySpan span = causal(sequence);
    span.window = window;
    plan.add_span(span);
  }
}

void plan_own_blocks(SpanPlan& plan, std::span<const WriterBlock> blocks) {
  plan.clear(1);
  for (const WriterBlock& block : blocks) {
    add_run(plan, block.tokens);
    plan.add_span(causal(block.tokens));
  }
}

void plan_reads(SpanPlan& plan, std::span<const WriterBlock> blocks) {
  plan.clear(1);
  for (const WriterBlock& block : blocks) {
    add_run(plan, block.tokens);
    plan.add_span(whole(0, block.reads));
  }
}

void plan_joint(SpanPlan& plan, std::span<const WriterBlock> blocks) {
  plan.clear(2);
  for (const WriterBlock& block : blocks) {
    add_run(plan, block.tokens);
    plan.add_span(causal(block.tokens));
    plan.add_span(whole(1, block.reads));
  }
}

}  // namespace tandem
