#include "ops/gated_retention.h"

#include "base/error.h"

namespace tandem::ops {

Var log_decay(Tape& tape, const Heads& gates, double divisor) {
  Tensor x = gates.columns.of(gates.var->value).view({gates.var->value.rows(), gates.columns.heads});
  Var out = tape.residual(x.shape);
  kernels::log_decay_forward(tape.context(), out->value, x, divisor);
  tape.on_backward([=](Tape& t) {
    if (!out->grad.defined()) return;
    Tensor dx = gates.columns.of(t.column_gradient(gates.var)).view(x.shape);
    kernels::log_decay_backward(t.context(), dx, out->grad, x, divisor);
    t.drop_gradient(out);
  });
  return out;
}

namespace {

void backward(Tape& t, const RetentionOperands& x, Var out, const Tensor& states, const RetentionPlan& plan,
              double scale) {
  Tensor q = x.q.value(), k = x.source.k.value(), v = x.source.v.value();
  auto gradient = [&](const Heads& heads) { return heads.columns.of(t.column_gradient(heads.var)); };
  Tape::GradientSlot d_decay = t.gradient_slot(x.log_decay);
  if (d_decay.accumulate) throw LogicError({.what = "gated_retention: decays used twice"});
  kernels::gated_retention_backward(t.context(), gradient(x.q), gradient(x.source.k), gradient(x.source.v),
                                    d_decay.tensor, out->grad.view(q.shape), q, k, v, x.log_decay->value, states, plan,
                                    scale);
  t.drop_gradient(out);
}

}  // namespace

Var gated_retention(Tape& tape, const RetentionOperands& x, const RetentionPlan& plan, const Tensor& cached,
                    double scale) {
  Tensor q = x.q.value(), states = cached;
  int64_t size = q.shape[2];
  if (!states.defined()) {
    auto tiles = static_cast<int64_t>(plan.tiles.size());
    states = tape.arena().tensor(tape.precision().residual, {tiles, q.shape[1], size * size});
  }
  Var out = tape.activation({q.shape[0], q.row_size()});
  kernels::gated_retention_forward(tape.context(), out->value.view(q.shape), q, x.source.k.value(), x.source.v.value(),
                                   x.log_decay->value, states, plan, scale);
  tape.on_backward([=, plan_at = &plan](Tape& t) {
    if (out->grad.defined()) backward(t, x, out, states, *plan_at, scale);
  });
  return out;
}

}  // namespace tandem::ops
