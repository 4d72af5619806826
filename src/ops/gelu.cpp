#include "ops/gelu.h"

namespace tandem::ops {

Var gelu(Tape& tape, Var x, GeluKind kind) {
  Var out = tape.activation(x->value.shape);
  kernels::gelu_forward(tape.context(), out->value, x->value, kind);
  tape.on_backward([=](Tape& t) {
    if (!out->grad.defined()) return;
    // In place: the gradient of the input takes the buffer of the gradient of the output.
    kernels::gelu_backward(t.context(), out->grad, out->grad, x->value, kind);
    t.move_gradient(x, out);
  });
  return out;
}

}  // namespace tandem::ops
