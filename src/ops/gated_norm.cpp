#include "ops/gated_norm.h"

#include "base/error.h"
#include "kernels/gated_norm.h"

namespace tandem::ops {

Var gated_norm(Tape& tape, Var o, const Heads& gate, double eps) {
  Tensor gates = gate.value();
  check_shape("gated_norm", "o", o->value, {gates.shape[0], gates.row_size()});
  Var out = tape.activation(o->value.shape);
  kernels::gated_norm_forward(tape.context(), out->value.view(gates.shape), o->value.view(gates.shape), gates, eps);
  tape.on_backward([=](Tape& t) {
    if (!out->grad.defined()) return;
    Tape::GradientSlot d_o = t.gradient_slot(o);
    if (d_o.accumulate) throw LogicError({.what = "gated_norm: o has another consumer"});
    Tensor dg = gate.columns.of(t.column_gradient(gate.var));
    kernels::gated_norm_backward(t.context(), d_o.tensor.view(gates.shape), dg, out->grad.view(gates.shape),
                                 o->value.view(gates.shape), gates, eps);
    t.drop_gradient(out);
  });
  return out;
}

}  // namespace tandem::ops
