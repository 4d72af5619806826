#include "ops/relu.h"

#include "kernels/relu.h"

namespace tandem::ops {

Var relu(Tape& tape, Var x) {
  Var out = tape.activation(x->value.shape);
  kernels::relu_forward(tape.context(), out->value, x->value);
  tape.on_backward([=](Tape& t) {
    if (!out->grad.defined()) return;
    // In place: the gradient of the input takes the buffer of the gradient of the output.
    kernels::relu_backward(t.context(), out->grad, out->grad, out->value);
    t.move_gradient(x, out);
  });
  return out;
}

}  // namespace tandem::ops
