#include "ops/gather_rows.h"

#include "base/error.h"
#include "ops/op_check.h"
#include "ops/reshape.h"

namespace tandem::test {
namespace {

using Rows = std::vector<int32_t>;

// Rows of two sources, of one, of neither, and rows that nobody takes.
OpCase two_sources(const std::string& name, Rows a, Rows b) {
  return {.name = name,
          .inputs = {{"a", {5, 7}, Role::residual}, {"b", {4, 7}, Role::shared_activation}},
          .apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::gather_rows(tape, {{x[0], a}, {x[1], b}})}};
          },
          .longest_sum = 2};
}

OpCase one_source(const std::string& name, const Shape& shape, Rows rows) {
  return {.name = name,
          .inputs = {{"x", shape, Role::shared_activation}},
          .apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::gather_activations(tape, {x[0], rows})}};
          }};
}

OpCase widened() {
  return {.name = "to_residual",
          .inputs = {{"x", {3, 5}, Role::shared_activation}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::to_residual(tape, x[0])}};
          }};
}

OpCase reshaped() {
  return {.name = "reshape",
          .inputs = {{"x", {6, 4}, Role::shared_activation}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::reshape(tape, x[0], 2, 12)}};
          }};
}

INSTANTIATE_TEST_SUITE_P(GatherRows, OpCheck,
                         testing::Values(two_sources("gather_two", {4, -1, 0, 2, -1}, {-1, 3, 1, 0, -1}),
                                         one_source("gather_one", {5, 8}, {3, -1, 0}),
                                         one_source("gather_single", {1, 3}, {0}), widened(), reshaped()),
                         op_name);

TEST(GatherRows, SumsWhatItIsGiven) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage a(DType::f32, {2, 2}), b(DType::f32, {2, 2});
  set_elements(a.tensor(), {1, 2, 3, 4});
  set_elements(b.tensor(), {10, 20, 30, 40});
  Rows from_a{1, -1, 0}, from_b{0, 1, -1};
  Var sum = ops::gather_rows(tape, {{tape.constant(a.tensor()), from_a}, {tape.constant(b.tensor()), from_b}});
  EXPECT_EQ(elements_of(sum->value), (std::vector<double>{13, 24, 30, 40, 1, 2}));
}

TEST(GatherRows, RowsTakenTwiceOrBeyondTheSourceAreLogicErrors) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  Var x = tape.activation({3, 2});
  set_elements(x->value, {1, 2, 3, 4, 5, 6});
  for (const Rows& bad : {Rows{0, 0}, {3}}) {
    EXPECT_THROW(ops::gather_activations(tape, {x, bad}), LogicError);
  }
  EXPECT_THROW(ops::reshape(tape, x, 4, 2), LogicError);
}

}  // namespace
}  // namespace tandem::test
