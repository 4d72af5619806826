// The operations of gated layers: SwiGLU, the gated norm, gated retention; and the scale of an embedding.
#include <algorithm>
#include <cmath>
#include <memory>

#include "ops/gated_norm.h"
#include "ops/gated_retention.h"
#include "ops/op_check.h"
#include "ops/scale.h"
#include "ops/swiglu.h"

namespace tandem::test {
namespace {

OpCase swiglu_case(const std::string& name, int64_t tokens, int64_t n) {
  return {.name = name,
          .inputs = {{"x", {tokens, 2 * n}, Role::activation, -3, 3}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::swiglu(tape, x[0])}};
          },
          .inputs_are_shareable = false};
}

INSTANTIATE_TEST_SUITE_P(Swiglu, OpCheck,
                         testing::Values(swiglu_case("swiglu", 8, 16), swiglu_case("swiglu_ragged", 3, 7)), op_name);

OpCase gated_norm_case(const std::string& name, int64_t tokens, int64_t heads, int64_t size) {
  return {.name = name,
          .inputs = {{"o", {tokens, heads * size}, Role::activation, -2, 2},
                     {"gate", {tokens, heads * size}, Role::activation, -2, 2}},
          .apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::gated_norm(tape, x[0], {x[1], {0, heads, size}}, 1e-5)}};
          },
          .longest_sum = size,
          .inputs_are_shareable = false};
}

INSTANTIATE_TEST_SUITE_P(GatedNorm, OpCheck,
                         testing::Values(gated_norm_case("gated_norm", 6, 3, 16),
                                         gated_norm_case("gated_norm_ragged", 5, 2, 7)),
                         op_name);

// All operands are columns of one projection, as in the layer.
OpCase retention_case(const std::string& name, std::vector<int64_t> lengths, int64_t heads, int64_t size) {
  int64_t tokens = 0;
  auto plan = std::make_shared<RetentionPlan>();
  plan->clear(QueryOrder::by_tile);
  for (int64_t length : lengths) {
    plan->add_sequence(tokens, tokens + length);
    tokens += length;
  }
  ops::HeadColumns q{0, heads, size}, k{q.end(), heads, size}, v{k.end(), heads, size}, gate{v.end(), heads, 1};
  return {.name = name,
          .inputs = {{"projection", {tokens, gate.end()}, Role::activation}},
          .apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            Var decay = ops::log_decay(tape, {x[0], gate}, 3.0);
            ops::RetentionOperands operands{{x[0], q}, {{x[0], k}, {x[0], v}}, decay};
            return {{ops::gated_retention(tape, operands, *plan, {}, 0.4)}};
          },
          .longest_sum = 64 + size + *std::max_element(lengths.begin(), lengths.end()),
          .inputs_are_shareable = false};
}

INSTANTIATE_TEST_SUITE_P(GatedRetention, OpCheck,
                         testing::Values(retention_case("gated_retention", {5, 1, 9}, 2, 4),
                                         retention_case("gated_retention_tiles", {66, 3}, 1, 2),
                                         retention_case("gated_retention_ragged", {7}, 3, 6)),
                         op_name);

// Scaling works in place: on a copy.
OpCase scale_case() {
  return {.name = "scale",
          .inputs = {{"x", {5, 13}, Role::residual}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            Var copy = tape.residual(x[0]->value.shape), from = x[0];
            copy_convert(copy->value, from->value);
            tape.on_backward([copy, from](Tape& t) {
              if (copy->grad.defined()) t.move_gradient(from, copy);
            });
            ops::scale_in_place(tape, copy, 2.5);
            return {{copy}};
          }};
}

INSTANTIATE_TEST_SUITE_P(Scale, OpCheck, testing::Values(scale_case()), op_name);

TEST(Swiglu, IsItsFormula) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  Tensor x = tape.arena().tensor(DType::f64, {1, 4});
  set_elements(x, {2, -1, 3, 5});
  std::vector<double> y = elements_of(ops::swiglu(tape, tape.constant(x))->value);
  EXPECT_NEAR(y[0], 3 * 2 / (1 + std::exp(-2.0)), 1e-14);
  EXPECT_NEAR(y[1], 5 * -1 / (1 + std::exp(1.0)), 1e-14);
}

TEST(GatedNorm, IsItsFormula) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  Tensor o = tape.arena().tensor(DType::f64, {1, 4}), g = tape.arena().tensor(DType::f64, {1, 4});
  set_elements(o, {3, 4, 1, -7});
  set_elements(g, {1, -2, 0, 0.5});
  std::vector<double> y = elements_of(ops::gated_norm(tape, tape.constant(o), {tape.constant(g), {0, 2, 2}}, 0)->value);
  EXPECT_NEAR(y[0], 1 / (1 + std::exp(-1.0)) * 3 / std::sqrt(12.5), 1e-14);
  EXPECT_NEAR(y[1], -2 / (1 + std::exp(2.0)) * 4 / std::sqrt(12.5), 1e-14);
  EXPECT_EQ(y[2], 0);
  EXPECT_NEAR(y[3], 0.5 / (1 + std::exp(-0.5)) * -7 / 5, 1e-14);
}

}  // namespace
}  // namespace tandem::test
