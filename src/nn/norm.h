// Norms that a config may choose.
#pragma once

#include <string>

#include "nn/parameters.h"
#include "ops/tape.h"

namespace tandem::nn {

enum class NormKind {
  layernorm,  // weight and bias
  rmsnorm,    // weight
};

class Norm {
 public:
  Norm(ParameterStore& store, const std::string& name, int64_t dim, NormKind kind, double eps);
  Var forward(Tape& tape, Var x) const;  // x [T, dim] on the residual stream -> activation with several consumers

 private:
  double eps_;
  Parameter& weight_;  // [dim]
  Parameter* bias_;    // [dim]; null: an RMSNorm
};

}  // namespace tandem::nn
