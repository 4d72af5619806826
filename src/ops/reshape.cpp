#include "ops/reshape.h"

#include "base/error.h"

namespace tandem::ops {

Var reshape(Tape& tape, Var x, int64_t rows, int64_t columns) {
  Shape shape{rows, columns};
  if (!x->value.contiguous() || shape.elements() != x->value.elements()) {
    throw LogicError(
        {.what = "reshape: the elements do not fit", .got = x->value.shape.text(), .expected = shape.text()});
  }
  Var out = tape.constant(Tensor(x->value.data, x->value.dtype, shape));
  out->grad_dtype = x->grad_dtype;
  out->needs_grad = x->needs_grad;
  tape.on_backward([=](Tape& t) {
    if (!out->grad.defined()) return;
    out->grad = Tensor(out->grad.data, out->grad.dtype, x->value.shape);
    t.move_gradient(x, out);
  });
  return out;
}

}  // namespace tandem::ops
