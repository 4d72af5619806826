#include "ops/linear.h"

#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/packed_matmul.h"

namespace tandem::ops {
namespace {

// dx = dy W and dW += dy^T x, with dy rounded to the type of the operands.
void linear_backward(Tape& tape, const Tensor& dy, Var x, const Weight& weight) {
  Context& ctx = tape.context();
  Tape::Converted d = tape.converted(dy, x->value.dtype);
  if (x->needs_grad) {
    Tape::GradientSlot dx = tape.gradient_slot(x);
    kernels::matmul_nn(ctx, dx.tensor, d.tensor, weight.value,
                       dx.accumulate ? kernels::Store::accumulate : kernels::Store::overwrite);
  }
  if (weight.grad.defined()) {
    kernels::matmul_tn(ctx, weight.grad, d.tensor, x->value, kernels::Store::accumulate);
  }
  tape.give_back(d);
}

}  // namespace

void multiply(Tape& tape, const Tensor& y, const Tensor& x, const Weight& weight) {
  if (weight.packed && (!tape.recording() || !weight.value.defined())) {
    kernels::packed_matmul(tape.context(), y, x, *weight.packed);
  } else {
    kernels::matmul_nt(tape.context(), y, x, weight.value);
  }
}

Var linear(Tape& tape, Var x, const Weight& weight, bool shared_grad) {
  int64_t tokens = x->value.rows(), in = weight.value.shape[1], out_size = weight.value.shape[0];
  check_shape("linear", "x", x->value, {tokens, in});
  Var out = tape.activation({tokens, out_size}, shared_grad);
  multiply(tape, out->value, x->value, weight);
  tape.on_backward(
      [=](Tape& t) {
        if (!out->grad.defined()) return;
        linear_backward(t, out->grad, x, weight);
        t.drop_gradient(out);
      },
      {weight.grad});
  return out;
}

Var linear_residual(Tape& tape, Var residual, Var x, const Weight& weight) {
  int64_t tokens = x->value.rows(), in = weight.value.shape[1], out_size = weight.value.shape[0];
  check_shape("linear_residual", "x", x->value, {tokens, in});
  check_shape("linear_residual", "residual", residual->value, {tokens, out_size});
  Var out = tape.residual({tokens, out_size});
  multiply(tape, out->value, x->value, weight);
  kernels::add(tape.context(), out->value, out->value, residual->value);
  tape.on_backward(
      [=](Tape& t) {
        if (!out->grad.defined()) return;
        linear_backward(t, out->grad, x, weight);
        t.move_gradient(residual, out);
      },
      {weight.grad});
  return out;
}

}  // namespace tandem::ops
