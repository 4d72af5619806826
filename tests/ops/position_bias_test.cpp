#include "ops/position_bias.h"

#include <cmath>

#include "base/error.h"
#include "ops/op_check.h"

namespace tandem::test {
namespace {

constexpr ops::PositionBias kBias{.heads = 2, .head_dim = 4, .positions = 3};

OpCase widen_case() {
  static const std::vector<int32_t> positions{0, 1, 2, 0, 1};
  return {.name = "widen_heads",
          .inputs = {{"qkv", {5, 24}, Role::activation}},
          .weights = {{"table", {6, 2}, Role::vector}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            return {{ops::widen_heads(tape, x[0], kBias, positions, w[0])}};
          },
          .longest_sum = 15,
          .inputs_are_shareable = false};
}

OpCase narrow_case() {
  return {.name = "narrow_heads",
          .inputs = {{"attended", {3, 16}, Role::activation}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::narrow_heads(tape, x[0], kBias)}};
          },
          .inputs_are_shareable = false};
}

INSTANTIATE_TEST_SUITE_P(PositionBias, OpCheck, testing::Values(widen_case(), narrow_case()), op_name);

// T5's: exact up to half of the buckets, then logarithmic, then one for all.
TEST(PositionBias, Buckets) {
  for (int64_t distance = 0; distance < 16; ++distance) {
    EXPECT_EQ(ops::relative_bucket(distance, 32, 128), distance);
  }
  EXPECT_EQ(ops::relative_bucket(16, 32, 128), 16);
  EXPECT_EQ(ops::relative_bucket(31, 32, 128), 21);
  EXPECT_EQ(ops::relative_bucket(127, 32, 128), 31);
  EXPECT_EQ(ops::relative_bucket(100000, 32, 128), 31);
}

// Attention over wide heads is attention with a bias on each score.
TEST(PositionBias, IsAddedToTheScores) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  std::vector<int32_t> positions{0, 1, 2};
  Var qkv = tape.activation({3, 24});
  std::vector<double> values;
  for (int i = 0; i < 72; ++i) values.push_back(std::sin(1.7 * i));
  set_elements(qkv->value, values);
  Storage table(DType::f64, {6, 2});
  set_elements(table.tensor(), {0.5, -1, 2, 0.25, -0.75, 1.5, 9, 9, 9, 9, 9, 9});
  SpanPlan plan;
  plan.clear(1);
  plan.add_run(0, 3);
  plan.add_span({.source = 0, .begin = 0, .end = 3, .shift = 0});
  Var wide = ops::widen_heads(tape, qkv, kBias, positions, {table.tensor(), {}});
  ops::HeadColumns q{0, 2, kBias.wide()}, k{q.end(), 2, kBias.wide()}, v{k.end(), 2, kBias.wide()};
  ops::KeyValueHeads source{{wide, k}, {wide, v}};
  Var attended = ops::span_attention(tape, {wide, q}, {&source, 1}, plan, 1.0).o;
  Tensor got = ops::narrow_heads(tape, attended, kBias)->value;
  auto at = [&](int64_t row, int64_t kind, int64_t head, int64_t i) {
    return values[static_cast<size_t>(row * 24 + kind * 8 + head * 4 + i)];
  };
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t head = 0; head < 2; ++head) {
      double total = 0, out[4] = {};
      for (int64_t j = 0; j <= t; ++j) {
        double score = load_element(table.tensor(), t - j, head);
        for (int64_t i = 0; i < 4; ++i) score += at(t, 0, head, i) * at(j, 1, head, i);
        total += std::exp(score);
        for (int64_t i = 0; i < 4; ++i) out[i] += std::exp(score) * at(j, 2, head, i);
      }
      for (int64_t i = 0; i < 4; ++i) EXPECT_NEAR(load_element(got, t, head * 4 + i), out[i] / total, 1e-12);
    }
  }
}

TEST(PositionBias, PositionsOutOfRangeAreLogicErrors) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage qkv(DType::f32, {1, 24}), table(DType::f32, {6, 2});
  for (int32_t bad : {-1, 3}) {
    std::vector<int32_t> positions{bad};
    EXPECT_THROW(ops::widen_heads(tape, tape.constant(qkv.tensor()), kBias, positions, {table.tensor(), {}}),
                 LogicError);
  }
}

}  // namespace
}  // namespace tandem::test
