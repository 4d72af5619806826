#include "ops/tape.h"

#include "base/error.h"
#include "kernels/elementwise.h"

namespace tandem {

Var Tape::node(const Tensor& value, DType grad_dtype, bool needs_grad) {
  return new (arena_.allocate(sizeof(Node))) Node{value, Tensor(), grad_dtype, needs_grad};
}

Var Tape::activation(const Shape& shape, bool shared_grad) {
  return node(arena_.tensor(precision_.activation, shape), shared_grad ? precision_.residual : precision_.activation,
              true);
}

Var Tape::residual(const Shape& shape) {
  return node(arena_.tensor(precision_.residual, shape), precision_.residual, true);
}

Var Tape::constant(const Tensor& value) { return node(value, precision_.residual, false); }

void Tape::backward() {
  for (Record* record = last_; record; record = record->previous) record->run(record->body, *this);
  last_ = nullptr;
}

void Tape::backward(const std::function<void()>& after_each) {
  for (Record* record = last_; record; record = record->previous) {
    record->run(record->body, *this);
    after_each();
  }
  last_ = nullptr;
}

Tape::GradientSlot Tape::gradient_slot(Var v) {
  if (v->grad.defined()) {
    if (v->grad_dtype == DType::bf16 || v->grad_dtype == DType::bf16_in_f64) {
      throw LogicError({.what = "second gradient for a value with a bf16 gradient",
                        .got = v->value.shape.text(),
                        .hint = "create the value with shared_grad"});
    }
    return {v->grad, true};
  }
  v->grad = pool_.take(v->grad_dtype, v->value.shape);
  return {v->grad, false};
}

Tensor Tape::column_gradient(Var v) {
  if (!v->grad.defined()) v->grad = pool_.take(v->grad_dtype, v->value.shape);
  return v->grad;
}

void Tape::move_gradient(Var to, Var from) {
  if (!to->needs_grad) return drop_gradient(from);
  if (!to->grad.defined() && to->grad_dtype == from->grad_dtype) {
    to->grad = from->grad;
  } else {
    GradientSlot slot = gradient_slot(to);
    if (slot.accumulate) {
      kernels::accumulate(ctx_, slot.tensor, from->grad);
    } else {
      kernels::convert(ctx_, slot.tensor, from->grad);
    }
    pool_.give_back(from->grad);
  }
  from->grad = Tensor();
}

void Tape::drop_gradient(Var v) {
  if (v->grad.defined()) pool_.give_back(v->grad);
  v->grad = Tensor();
}

Tape::Converted Tape::converted(const Tensor& x, DType dtype) {
  if (x.dtype == dtype) return {x, false};
  Tensor copy = pool_.take(dtype, x.shape);
  kernels::convert(ctx_, copy, x);
  return {copy, true};
}

void Tape::reset() {
  arena_.reset();
  pool_.take_all_back();
  last_ = nullptr;
}

void check_shape(const char* op, const char* operand, const Tensor& t, const Shape& expected) {
  if (t.shape == expected) return;
  throw LogicError(
      {.what = fmt::format("{}: wrong shape of {}", op, operand), .got = t.shape.text(), .expected = expected.text()});
}

}  // namespace tandem
