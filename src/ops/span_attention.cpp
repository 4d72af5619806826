#include "ops/span_attention.h"

#include "base/error.h"
#include "kernels/span_attention.h"

namespace tandem::ops {
namespace {

struct Sources {
  std::array<KeyValueHeads, kMostSources> heads;
  size_t count = 0;

  std::array<kernels::KeyValueSource, kMostSources> values() const {
    std::array<kernels::KeyValueSource, kMostSources> out;
    for (size_t s = 0; s < count; ++s) out[s] = {heads[s].k.value(), heads[s].v.value()};
    return out;
  }
};

// The gradients of several operands may be columns of one tensor (queries, keys and values of one projection): the
// slot of a variable is opened once per call, and every operand writes its own columns.
class OpenSlots {
 public:
  explicit OpenSlots(Tape& tape) : tape_(tape) {}
  Tape::GradientSlot slot(Var v) {
    for (size_t i = 0; i < count_; ++i) {
      if (vars_[i] == v) return slots_[i];
    }
    vars_[count_] = v;
    slots_[count_] = tape_.gradient_slot(v);
    return slots_[count_++];
  }

 private:
  Tape& tape_;
  std::array<Var, 2 * kMostSources + 1> vars_{};
  std::array<Tape::GradientSlot, 2 * kMostSources + 1> slots_{};
  size_t count_ = 0;
};

void backward(Tape& tape, const Heads& q, const Sources& sources, const SpanPlan& plan, double scale,
              const AttentionOutput& out, const Tensor& lse) {
  OpenSlots slots(tape);
  Tape::GradientSlot dq = slots.slot(q.var);
  if (dq.accumulate) throw LogicError({.what = "span_attention: queries used twice"});
  std::array<kernels::KeyValueGradient, kMostSources> gradients;
  for (size_t s = 0; s < sources.count; ++s) {
    const KeyValueHeads& source = sources.heads[s];
    Tape::GradientSlot dk = slots.slot(source.k.var), dv = slots.slot(source.v.var);
    gradients[s] = {source.k.columns.of(dk.tensor), source.v.columns.of(dv.tensor), dk.accumulate};
  }
  auto values = sources.values();
  Tensor heads_shape = q.value();
  Tensor d_lse, source_lse;
  if (out.source_lse && out.source_lse->grad.defined()) {
    d_lse = out.source_lse->grad;
    source_lse = out.source_lse->value;
  }
  kernels::span_attention_backward(tape.context(), q.columns.of(dq.tensor), {gradients.data(), sources.count},
                                   out.o->grad.view(heads_shape.shape), out.o->value.view(heads_shape.shape), lse,
                                   d_lse, source_lse, q.value(), {values.data(), sources.count}, plan, scale);
  tape.drop_gradient(out.o);
  if (out.source_lse) tape.drop_gradient(out.source_lse);
}

}  // namespace

AttentionOutput span_attention(Tape& tape, const Heads& q, std::span<const KeyValueHeads> inputs, const SpanPlan& plan,
                               double scale, bool with_source_lse) {
  if (inputs.size() > kMostSources || inputs.size() != static_cast<size_t>(plan.sources)) {
    throw LogicError({.what = "span_attention: wrong number of key sources",
                      .got = fmt::format("{}", inputs.size()),
                      .expected = fmt::format("{}", plan.sources)});
  }
  Sources sources;
  for (const KeyValueHeads& input : inputs) sources.heads[sources.count++] = input;
  Tensor q_heads = q.value();
  int64_t tokens = q_heads.shape[0], heads = q_heads.shape[1];
  DType wide = tape.precision().residual;
  Tensor lse = tape.arena().tensor(wide, {heads, tokens});
  AttentionOutput out;
  out.o = tape.activation({tokens, q_heads.row_size()});
  if (with_source_lse) out.source_lse = tape.residual({static_cast<int64_t>(sources.count), heads, tokens});
  auto values = sources.values();
  kernels::span_attention_forward(tape.context(), out.o->value.view(q_heads.shape), lse,
                                  out.source_lse ? out.source_lse->value : Tensor(), q_heads,
                                  {values.data(), sources.count}, plan, scale);
  tape.on_backward([=, plan_at = &plan](Tape& t) {
    if (out.o->grad.defined()) backward(t, q, sources, *plan_at, scale, out, lse);
  });
  return out;
}

}  // namespace tandem::ops
