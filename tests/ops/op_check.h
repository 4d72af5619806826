// The checks that every operation has to pass, from one description of it: finite differences, the fast precisions
// against the double-precision reference, and what happens to gradients that several passes or consumers add to.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "ops/tape.h"

namespace tandem::test {

// In which types an operand is held (activation or residual type of the run's precision) and what its gradient allows.
enum class Role {
  activation,         // input in the type of matrix products; one consumer
  shared_activation,  // the same with a gradient that several consumers may add to
  residual,           // input on the residual stream
  matrix,             // weight in the type of matrix products, gradient in the wide type
  vector,             // weight (norm, bias, gate, table of vectors) in the wide type
};

struct Operand {
  std::string name;
  Shape shape;
  Role role = Role::activation;
  double low = -1;  // values are uniform in [low, high)
  double high = 1;
};

// The differentiable values of an operation: tensors, and a scalar whose gradient the operation starts by itself.
struct OpResult {
  std::vector<Var> outputs;
  double scalar = 0;
};

struct OpCase {
  std::string name;
  std::vector<Operand> inputs;
  std::vector<Operand> weights;
  // Must keep alive what the tape refers to (ids, plans): capture it by value.
  std::function<OpResult(Tape&, std::span<const Var>, std::span<const Weight>)> apply;
  // Length of the longest sum in it: what the error of a float32 run grows with.
  int64_t longest_sum = 1;
  // Roundings to bfloat16 on the longest way from an operand to a value or gradient.
  int bf16_roundings = 1;
  // False where the operation overwrites an input or claims its gradient for itself.
  bool inputs_are_shareable = true;
};

std::ostream& operator<<(std::ostream& out, const OpCase& op);

// Name of a test instance.
std::string op_name(const testing::TestParamInfo<OpCase>& info);

class OpCheck : public testing::TestWithParam<OpCase> {};

// Norm of the difference over norm of `expected`; infinite when not finite.
double relative_error(const std::vector<double>& got, const std::vector<double>& expected);

// All elements of a tensor as doubles.
std::vector<double> elements_of(const Tensor& t);
// Fills a tensor of any type.
void set_elements(const Tensor& t, const std::vector<double>& values);

}  // namespace tandem::test
