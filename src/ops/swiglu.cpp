#include "ops/swiglu.h"

#include "base/error.h"
#include "kernels/swiglu.h"

namespace tandem::ops {

Var swiglu(Tape& tape, Var x) {
  if (x->value.row_size() % 2 != 0) {
    throw LogicError({.what = "swiglu: two halves of one width", .got = x->value.shape.text()});
  }
  Var out = tape.activation({x->value.rows(), x->value.row_size() / 2});
  kernels::swiglu_forward(tape.context(), out->value, x->value);
  tape.on_backward([=](Tape& t) {
    if (!out->grad.defined()) return;
    Tape::GradientSlot dx = t.gradient_slot(x);
    if (dx.accumulate) throw LogicError({.what = "swiglu: x has another consumer"});
    kernels::swiglu_backward(t.context(), dx.tensor, out->grad, x->value);
    t.drop_gradient(out);
  });
  return out;
}

}  // namespace tandem::ops
