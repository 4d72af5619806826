#include "ops/linear.h"

#include "base/error.h"
#include "ops/op_check.h"

namespace tandem::test {
namespace {

OpCase linear_case(const std::string& name, int64_t tokens, int64_t in, int64_t out, Role input) {
  return {.name = name,
          .inputs = {{"x", {tokens, in}, input}},
          .weights = {{"weight", {out, in}, Role::matrix}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            return {{ops::linear(tape, x[0], w[0])}};
          },
          .longest_sum = std::max({tokens, in, out})};
}

OpCase residual_case(const std::string& name, int64_t tokens, int64_t in, int64_t out) {
  return {.name = name,
          .inputs = {{"residual", {tokens, out}, Role::residual}, {"x", {tokens, in}, Role::shared_activation}},
          .weights = {{"weight", {out, in}, Role::matrix}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            return {{ops::linear_residual(tape, x[0], x[1], w[0])}};
          },
          .longest_sum = std::max({tokens, in, out}),
          .bf16_roundings = 2};
}

INSTANTIATE_TEST_SUITE_P(Linear, OpCheck,
                         testing::Values(linear_case("linear", 9, 16, 24, Role::shared_activation),
                                         linear_case("linear_narrow_gradient", 9, 16, 24, Role::activation),
                                         linear_case("linear_ragged", 5, 7, 3, Role::shared_activation),
                                         linear_case("linear_one_token", 1, 32, 40, Role::shared_activation),
                                         residual_case("linear_residual", 9, 24, 16),
                                         residual_case("linear_residual_ragged", 3, 5, 7)),
                         op_name);

TEST(Linear, NamesOperandOfTheWrongShape) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage w(DType::f32, {4, 8});
  Var x = tape.activation({3, 7});
  EXPECT_THROW(ops::linear(tape, x, {w.tensor(), {}}), LogicError);
  EXPECT_THROW(ops::linear_residual(tape, tape.residual({3, 5}), tape.activation({3, 8}), {w.tensor(), {}}),
               LogicError);
}

// A frozen weight and an input that needs no gradient cost nothing and get nothing.
TEST(Linear, ConstantInputAndFrozenWeightGetNoGradient) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  Storage x(DType::f32, {3, 8}), w(DType::f32, {4, 8}), dw(DType::f32, {4, 8});
  set_elements(x.tensor(), std::vector<double>(24, 1.0));
  Var input = tape.constant(x.tensor());
  Var y = ops::linear(tape, input, {w.tensor(), dw.tensor()});
  Var z = ops::linear(tape, input, {w.tensor(), {}});
  for (Var v : {y, z}) set_elements(tape.gradient_slot(v).tensor, std::vector<double>(12, 1.0));
  tape.backward();
  EXPECT_FALSE(input->grad.defined());
  EXPECT_EQ(elements_of(dw.tensor()), std::vector<double>(32, 3.0));
}

}  // namespace
}  // namespace tandem::test
