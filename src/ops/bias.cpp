#include "ops/bias.h"

#include "kernels/bias.h"

namespace tandem::ops {

Var add_bias(Tape& tape, Var x, const Weight& bias) {
  check_shape("add_bias", "bias", bias.value, {x->value.row_size()});
  kernels::add_bias(tape.context(), x->value, bias.value);
  tape.on_backward(
      [x, grad = bias.grad](Tape& t) {
        if (x->grad.defined() && grad.defined()) kernels::bias_backward(t.context(), grad, x->grad);
      },
      {bias.grad});
  return x;
}

}  // namespace tandem::ops
