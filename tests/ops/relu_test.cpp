#include "ops/relu.h"

#include "ops/op_check.h"

namespace tandem::test {
namespace {

// Away from zero, where the slope jumps: positive values in one case, negative ones in the other.
OpCase relu_case(const std::string& name, double low, double high) {
  return {.name = name,
          .inputs = {{"x", {5, 19}, Role::activation, low, high}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::relu(tape, x[0])}};
          }};
}

INSTANTIATE_TEST_SUITE_P(Relu, OpCheck, testing::Values(relu_case("relu", 0.1, 2)), op_name);

TEST(Relu, IsItsFormula) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  Tensor x = tape.arena().tensor(DType::f64, {1, 4});
  set_elements(x, {-3, -0.1, 0, 2.5});
  EXPECT_EQ(elements_of(ops::relu(tape, tape.constant(x))->value), (std::vector<double>{0, 0, 0, 2.5}));
}

TEST(Relu, NothingFlowsBackWhereItIsShut) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::record);
  Var x = tape.residual({1, 3});
  set_elements(x->value, {-1, 0, 1});
  Var y = ops::relu(tape, x);
  set_elements(tape.gradient_slot(y).tensor, {5, 6, 7});
  tape.backward();
  EXPECT_EQ(elements_of(x->grad), (std::vector<double>{0, 0, 7}));
}

}  // namespace
}  // namespace tandem::test
