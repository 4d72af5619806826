#include "nn/linear.h"

#include "ops/bias.h"
#include "ops/linear.h"

namespace tandem::nn {

Linear::Linear(ParameterStore& store, const std::string& name, int64_t out, int64_t in, bool biased)
    : weight_(store.add(name + ".weight", {out, in}, MupGroup::matrix, Initial::xavier_uniform)),
      bias_(biased ? &store.add(name + ".bias", {out}, MupGroup::vector, Initial::zeros) : nullptr) {}

Var Linear::forward(Tape& tape, Var x, bool shared_grad) const {
  Var y = ops::linear(tape, x, weight_.weight(), shared_grad);
  return bias_ ? ops::add_bias(tape, y, bias_->weight()) : y;
}

Var Linear::add_to(Tape& tape, Var residual, Var x) const {
  Var y = ops::linear_residual(tape, residual, x, weight_.weight());
  return bias_ ? ops::add_bias(tape, y, bias_->weight()) : y;
}

}  // namespace tandem::nn
