#include "ops/fork.h"

namespace tandem::ops {

Var fork(Tape& tape, Var x) {
  Var out = tape.constant(x->value);
  out->grad_dtype = x->grad_dtype;
  out->needs_grad = true;
  tape.on_backward([=](Tape& t) {
    if (out->grad.defined()) t.move_gradient(x, out);
  });
  return out;
}

}  // namespace tandem::ops
