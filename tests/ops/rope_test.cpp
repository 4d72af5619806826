#include "ops/rope.h"

#include <cmath>

#include "base/error.h"
#include "ops/op_check.h"

namespace tandem::test {
namespace {

ops::RopeTable table_of(Tape& tape, int64_t positions, int64_t head_dim, ops::RopePairs pairs) {
  DType wide = tape.precision().residual;
  ops::RopeTable table{tape.arena().tensor(wide, {positions, head_dim / 2}),
                       tape.arena().tensor(wide, {positions, head_dim / 2}), pairs};
  kernels::rope_table(table.cos, table.sin, 10000);
  return table;
}

// Columns before and behind the heads stay as they are.
OpCase rope_case(const std::string& name, ops::RopePairs pairs, const ops::HeadColumns& heads, int64_t width) {
  std::vector<int32_t> positions{0, 1, 5, 5, 2, 30};
  return {.name = name,
          .inputs = {{"x", {6, width}, Role::activation}},
          .apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            ops::rope_in_place(tape, x[0], heads, positions, table_of(tape, 31, heads.head_dim, pairs));
            return {{x[0]}};
          },
          .longest_sum = 2,
          .inputs_are_shareable = false};
}

constexpr auto kAdjacent = ops::RopePairs::adjacent, kHalfSplit = ops::RopePairs::half_split;

INSTANTIATE_TEST_SUITE_P(Rope, OpCheck,
                         testing::Values(rope_case("rope_adjacent", kAdjacent, {0, 2, 8}, 16),
                                         rope_case("rope_half_split", kHalfSplit, {0, 2, 8}, 16),
                                         rope_case("rope_adjacent_columns", kAdjacent, {3, 2, 6}, 20),
                                         rope_case("rope_half_split_columns", kHalfSplit, {3, 2, 6}, 20),
                                         rope_case("rope_adjacent_32", kAdjacent, {0, 1, 32}, 48),
                                         rope_case("rope_half_split_32", kHalfSplit, {0, 1, 32}, 48)),
                         op_name);

TEST(Rope, TurnsEachPairByItsAngle) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  std::vector<int32_t> position{3};
  for (ops::RopePairs pairs : {kAdjacent, kHalfSplit}) {
    Var x = tape.residual({1, 4});
    set_elements(x->value, {1, 2, 3, 4});
    ops::rope_in_place(tape, x, {0, 1, 4}, position, table_of(tape, 4, 4, pairs));
    std::vector<double> y = elements_of(x->value);
    // Pairs (0, 1) and (2, 3), or (0, 2) and (1, 3); frequencies 1 and 10000^(-1/2).
    bool adjacent = pairs == kAdjacent;
    std::array<std::array<size_t, 2>, 2> members = adjacent ? std::array<std::array<size_t, 2>, 2>{{{0, 1}, {2, 3}}}
                                                            : std::array<std::array<size_t, 2>, 2>{{{0, 2}, {1, 3}}};
    for (size_t pair = 0; pair < 2; ++pair) {
      double angle = 3 * (pair == 0 ? 1.0 : 0.01), c = std::cos(angle), s = std::sin(angle);
      double a = static_cast<double>(members[pair][0] + 1), b = static_cast<double>(members[pair][1] + 1);
      EXPECT_NEAR(y[members[pair][0]], a * c - b * s, 1e-6);  // angles are computed in float32
      EXPECT_NEAR(y[members[pair][1]], a * s + b * c, 1e-6);
    }
  }
}

// What attention relies on: scores depend on the distance only.
TEST(Rope, ProductsDependOnTheDistance) {
  Context ctx(1);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  for (ops::RopePairs pairs : {kAdjacent, kHalfSplit}) {
    ops::RopeTable table = table_of(tape, 64, 8, pairs);
    auto product = [&](int32_t query, int32_t key) {
      std::vector<int32_t> positions{query, key};
      Var x = tape.residual({2, 8});
      set_elements(x->value, {1, -2, 3, 1, 2, 0, 1, 1, 2, 1, 1, -1, 3, 1, 0, 2});
      ops::rope_in_place(tape, x, {0, 1, 8}, positions, table);
      double sum = 0;
      for (int64_t i = 0; i < 8; ++i) sum += load_element(x->value, 0, i) * load_element(x->value, 1, i);
      return sum;
    };
    EXPECT_NEAR(product(7, 3), product(47, 43), 1e-4);  // angles are computed in float32
    EXPECT_GT(std::abs(product(7, 3) - product(7, 4)), 0.1);
  }
}

TEST(Rope, PositionBeyondTheTableIsAnInputError) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Var x = tape.activation({1, 4});
  ops::RopeTable table = table_of(tape, 8, 4, kAdjacent);
  std::vector<int32_t> beyond{8}, negative{-1};
  EXPECT_THROW(ops::rope_in_place(tape, x, {0, 1, 4}, beyond, table), InputError);
  EXPECT_THROW(ops::rope_in_place(tape, x, {0, 1, 4}, negative, table), InputError);
}

}  // namespace
}  // namespace tandem::test
