#include <cmath>

#include "ops/layernorm.h"
#include "ops/op_check.h"
#include "ops/rmsnorm.h"

namespace tandem::test {
namespace {

OpCase rmsnorm_case(const std::string& name, int64_t tokens, int64_t dim) {
  return {.name = name,
          .inputs = {{"x", {tokens, dim}, Role::residual, -2, 2}},
          .weights = {{"weight", {dim}, Role::vector, 0.5, 1.5}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            return {{ops::rmsnorm(tape, x[0], w[0], 1e-5)}};
          },
          .longest_sum = std::max(tokens, dim)};
}

OpCase layernorm_case(const std::string& name, int64_t tokens, int64_t dim) {
  return {.name = name,
          .inputs = {{"x", {tokens, dim}, Role::residual, -2, 3}},
          .weights = {{"weight", {dim}, Role::vector, 0.5, 1.5}, {"bias", {dim}, Role::vector}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            return {{ops::layernorm(tape, x[0], w[0], w[1], 1e-5)}};
          },
          .longest_sum = std::max(tokens, dim)};
}

INSTANTIATE_TEST_SUITE_P(Norm, OpCheck,
                         testing::Values(rmsnorm_case("rmsnorm", 7, 16), rmsnorm_case("rmsnorm_ragged", 5, 13),
                                         rmsnorm_case("rmsnorm_many_rows", 40, 8), layernorm_case("layernorm", 7, 16),
                                         layernorm_case("layernorm_ragged", 5, 13),
                                         layernorm_case("layernorm_many_rows", 40, 8)),
                         op_name);

Tensor row(Tape& tape, const std::vector<double>& values) {
  Tensor t = tape.arena().tensor(DType::f64, {1, static_cast<int64_t>(values.size())});
  set_elements(t, values);
  return t;
}

TEST(Norm, RmsnormIsItsFormula) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  Var x = tape.constant(row(tape, {3, -4, 0, 5}));
  Tensor w = row(tape, {1, 2, 3, 4}).view({4});
  std::vector<double> y = elements_of(ops::rmsnorm(tape, x, {w, {}}, 0.5)->value);
  double r = 1 / std::sqrt((9.0 + 16 + 25) / 4 + 0.5);
  std::vector<double> expected{3 * r, -8 * r, 0, 20 * r};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(y[i], expected[i], 1e-14);
}

TEST(Norm, LayernormIsItsFormula) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  Var x = tape.constant(row(tape, {3, -4, 0, 5}));
  Tensor w = row(tape, {1, 2, 3, 4}).view({4}), b = row(tape, {0, 1, 0, -1}).view({4});
  std::vector<double> y = elements_of(ops::layernorm(tape, x, {w, {}}, {b, {}}, 0.5)->value);
  double r = 1 / std::sqrt((4.0 + 25 + 1 + 16) / 4 + 0.5);  // mean 1
  std::vector<double> expected{2 * r, -10 * r + 1, -3 * r, 16 * r - 1};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(y[i], expected[i], 1e-14);
}

}  // namespace
}  // namespace tandem::test
