#include "ops/lse_gate.h"

#include "kernels/lse_gate.h"

namespace tandem::ops {

Var lse_gate(Tape& tape, const AttentionOutput& a, const AttentionOutput& b, const Weight& bias,
             const Weight& temperature) {
  int64_t heads = temperature.value.shape[0], tokens = a.o->value.rows();
  Shape by_head{tokens, heads, a.o->value.row_size() / heads};
  auto lse = [=](Var v) { return Tensor(v->value.data, v->value.dtype, {heads, tokens}); };
  Var out = tape.activation(a.o->value.shape);
  kernels::lse_gate_forward(tape.context(), out->value.view(by_head), a.o->value.view(by_head),
                            b.o->value.view(by_head), lse(a.source_lse), lse(b.source_lse), bias.value,
                            temperature.value);
  tape.on_backward(
      [=](Tape& t) {
        if (!out->grad.defined()) return;
        auto d_lse = [&](Var v) { return Tensor(t.gradient_slot(v).tensor.data, v->grad_dtype, {heads, tokens}); };
        Tensor da = t.gradient_slot(a.o).tensor.view(by_head), db = t.gradient_slot(b.o).tensor.view(by_head);
        Tensor dlse_a = d_lse(a.source_lse), dlse_b = d_lse(b.source_lse);
        kernels::lse_gate_backward(t.context(), da, db, dlse_a, dlse_b, bias.grad, temperature.grad,
                                   out->grad.view(by_head), a.o->value.view(by_head), b.o->value.view(by_head),
                                   lse(a.source_lse), lse(b.source_lse), bias.value, temperature.value);
        t.drop_gradient(out);
      },
      {bias.grad, temperature.grad});
  return out;
}

}  // namespace tandem::ops
