// Matrices that are trained, with or without a bias.
#pragma once

#include <string>

#include "nn/parameters.h"
#include "ops/tape.h"

namespace tandem::nn {

// y = x W^T, or x W^T + b, with W stored [out, in] as NAME.weight and b [out] as NAME.bias.
class Linear {
 public:
  Linear(ParameterStore& store, const std::string& name, int64_t out, int64_t in, bool biased);

  // x [T, in] -> activation [T, out]; `shared_grad` when several consumers add to its gradient.
  Var forward(Tape& tape, Var x, bool shared_grad = false) const;
  Var add_to(Tape& tape, Var residual, Var x) const;  // residual + y, on the residual stream

 private:
  Parameter& weight_;
  Parameter* bias_;  // null: none
};

}  // namespace tandem::nn
