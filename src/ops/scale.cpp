#include "ops/scale.h"

#include "kernels/elementwise.h"

namespace tandem::ops {

void scale_in_place(Tape& tape, Var x, double factor) {
  kernels::scale(tape.context(), x->value, x->value, factor);
  tape.on_backward([=](Tape& t) {
    if (x->grad.defined()) kernels::scale(t.context(), x->grad, x->grad, factor);
  });
}

}  // namespace tandem::ops
