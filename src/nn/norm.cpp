#include "nn/norm.h"

#include "ops/layernorm.h"
#include "ops/rmsnorm.h"

namespace tandem::nn {

Norm::Norm(ParameterStore& store, const std::string& name, int64_t dim, NormKind kind, double eps)
    : eps_(eps),
      weight_(store.add(name + ".weight", {dim}, MupGroup::vector, Initial::ones)),
      bias_(kind == NormKind::layernorm ? &store.add(name + ".bias", {dim}, MupGroup::vector, Initial::zeros)
                                        : nullptr) {}

Var Norm::forward(Tape& tape, Var x) const {
  return bias_ ? ops::layernorm(tape, x, weight_.weight(), bias_->weight(), eps_)
               : ops::rmsnorm(tape, x, weight_.weight(), eps_);
}

}  // namespace tandem::nn
