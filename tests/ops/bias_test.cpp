#include "ops/bias.h"

#include "ops/op_check.h"

namespace tandem::test {
namespace {

OpCase bias_case(const std::string& name, const Shape& shape, Role role) {
  return {.name = name,
          .inputs = {{"x", shape, role}},
          .weights = {{"bias", {shape[1]}, Role::vector}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            return {{ops::add_bias(tape, x[0], w[0])}};
          },
          .longest_sum = shape[0],
          .inputs_are_shareable = false};
}

INSTANTIATE_TEST_SUITE_P(Bias, OpCheck,
                         testing::Values(bias_case("bias", {8, 16}, Role::shared_activation),
                                         bias_case("bias_ragged", {3, 7}, Role::residual)),
                         op_name);

TEST(Bias, IsAddedToEveryRow) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage x(DType::f32, {2, 2}), bias(DType::f32, {2});
  set_elements(x.tensor(), {1, 2, 3, 4});
  set_elements(bias.tensor(), {10, 20});
  EXPECT_EQ(elements_of(ops::add_bias(tape, tape.constant(x.tensor()), {bias.tensor(), {}})->value),
            (std::vector<double>{11, 22, 13, 24}));
}

}  // namespace
}  // namespace tandem::test
