#include "ops/gelu.h"

#include <cmath>
#include <numbers>

#include "ops/op_check.h"

namespace tandem::test {
namespace {

OpCase gelu_case(const std::string& name, ops::GeluKind kind, Shape shape, double reach) {
  return {.name = name,
          .inputs = {{"x", shape, Role::activation, -reach, reach}},
          .apply = [kind](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::gelu(tape, x[0], kind)}};
          }};
}

INSTANTIATE_TEST_SUITE_P(Gelu, OpCheck,
                         testing::Values(gelu_case("gelu_tanh", ops::GeluKind::tanh, {8, 16}, 3),
                                         gelu_case("gelu_erf", ops::GeluKind::erf, {8, 16}, 3),
                                         gelu_case("gelu_tanh_wide", ops::GeluKind::tanh, {3, 21}, 8),
                                         gelu_case("gelu_erf_wide", ops::GeluKind::erf, {3, 21}, 8)),
                         op_name);

TEST(Gelu, IsItsFormula) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  std::vector<double> points{-3, -1, -0.1, 0, 0.2, 1, 2.5};
  Tensor x = tape.arena().tensor(DType::f64, {1, 7});
  set_elements(x, points);
  std::vector<double> by_tanh = elements_of(ops::gelu(tape, tape.constant(x), ops::GeluKind::tanh)->value);
  std::vector<double> by_erf = elements_of(ops::gelu(tape, tape.constant(x), ops::GeluKind::erf)->value);
  for (size_t i = 0; i < points.size(); ++i) {
    double p = points[i], u = std::sqrt(2 / std::numbers::pi) * (p + 0.044715 * p * p * p);
    EXPECT_NEAR(by_tanh[i], 0.5 * p * (1 + std::tanh(u)), 1e-14);
    EXPECT_NEAR(by_erf[i], 0.5 * p * (1 + std::erf(p / std::numbers::sqrt2)), 1e-14);
  }
}

}  // namespace
}  // namespace tandem::test
