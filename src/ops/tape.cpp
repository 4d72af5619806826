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

Var Tape::keep_only(Var result, const Arena::Mark& mark) {
  Node kept = *result;
  if (!kept.value.contiguous())
    throw LogicError({.what = "section: a value with gaps", .got = kept.value.shape.text()});
  arena_.release(mark);
  Tensor to = arena_.tensor(kept.value.dtype, kept.value.shape);
  // Both may overlap: what was released is still there, behind the mark.
  std::memmove(to.data, kept.value.data, static_cast<size_t>(to.bytes()));
  return node(to, kept.grad_dtype, true);
}

void Tape::Replay::run(Var again, Var out) {
  again->grad = std::exchange(out->grad, Tensor());
  tape_.run_closures();
}

void Tape::expect(std::initializer_list<Tensor> gradients) {
  for (const Tensor& gradient : gradients) {
    if (gradient.defined()) observer_->expect(gradient.data);
  }
}

void Tape::announce(Record& record, std::initializer_list<Tensor> gradients) {
  if (!replaying_) expect(gradients);
  auto* list = static_cast<const void**>(arena_.allocate(gradients.size() * sizeof(const void*) + 1));
  size_t count = 0;
  for (const Tensor& gradient : gradients) {
    if (gradient.defined()) list[count++] = gradient.data;
  }
  record.gradients = {list, count};
}

void Tape::run_closures() {
  for (Record* record = last_; record; record = record->previous) {
    record->run(record->body, *this);
    if (after_each_) {
      (*after_each_)();
    } else if (observer_) {
      for (const void* gradient : record->gradients) observer_->added(gradient);
    }
  }
}

void Tape::backward() {
  if (observer_ && !after_each_) observer_->backward_begins();
  run_closures();
  last_ = nullptr;
}

void Tape::backward(const std::function<void()>& after_each) {
  after_each_ = &after_each;
  backward();
  after_each_ = nullptr;
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
