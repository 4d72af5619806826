#include "ops/layernorm.h"

#include "kernels/layernorm.h"

namespace tandem::ops {

Var layernorm(Tape& tape, Var x, const Weight& weight, const Weight& bias, double eps) {
  int64_t tokens = x->value.rows(), dim = weight.value.shape[0];
  check_shape("layernorm", "x", x->value, {tokens, dim});
  Var out = tape.activation({tokens, dim}, /*shared_grad=*/true);
  Tensor mean = tape.arena().tensor(tape.precision().residual, {tokens});
  Tensor r = tape.arena().tensor(tape.precision().residual, {tokens});
  kernels::layernorm_forward(tape.context(), out->value, mean, r, x->value, weight.value, bias.value, eps);
  tape.on_backward(
      [=](Tape& t) {
        if (!out->grad.defined()) return;
        Tape::GradientSlot dx = t.gradient_slot(x);
        kernels::layernorm_backward(t.context(), dx.tensor, dx.accumulate, weight.grad, bias.grad, out->grad, x->value,
                                    mean, r, weight.value);
        t.drop_gradient(out);
      },
      {weight.grad, bias.grad});
  return out;
}

}  // namespace tandem::ops
