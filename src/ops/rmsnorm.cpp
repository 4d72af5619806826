#include "ops/rmsnorm.h"

#include "kernels/rmsnorm.h"

namespace tandem::ops {

Var rmsnorm(Tape& tape, Var x, const Weight& weight, double eps) {
  int64_t tokens = x->value.rows(), dim = weight.value.shape[0];
  check_shape("rmsnorm", "x", x->value, {tokens, dim});
  Var out = tape.activation({tokens, dim}, /*shared_grad=*/true);
  Tensor r = tape.arena().tensor(tape.precision().residual, {tokens});
  kernels::rmsnorm_forward(tape.context(), out->value, r, x->value, weight.value, eps);
  tape.on_backward(
      [=](Tape& t) {
        if (!out->grad.defined()) return;
        Tape::GradientSlot dx = t.gradient_slot(x);
        kernels::rmsnorm_backward(t.context(), dx.tensor, dx.accumulate, weight.grad, out->grad, x->value, r,
                                  weight.value);
        t.drop_gradient(out);
      },
      {weight.grad});
  return out;
}

}  // namespace tandem::ops
