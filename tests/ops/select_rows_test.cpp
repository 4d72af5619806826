#include "ops/select_rows.h"

#include "base/error.h"
#include "ops/op_check.h"

namespace tandem::test {
namespace {

OpCase select_case(const std::string& name, const Shape& x, std::vector<int32_t> rows, Role role) {
  return {.name = name,
          .inputs = {{"x", x, role}},
          .apply = [rows](Tape& tape, std::span<const Var> in, std::span<const Weight>) -> OpResult {
            return {{ops::select_rows(tape, in[0], rows)}};
          }};
}

INSTANTIATE_TEST_SUITE_P(SelectRows, OpCheck,
                         testing::Values(select_case("select_rows", {7, 8}, {0, 2, 3, 6}, Role::shared_activation),
                                         select_case("select_rows_one", {5, 3}, {4}, Role::activation),
                                         select_case("select_rows_all", {3, 16}, {0, 1, 2}, Role::shared_activation)),
                         op_name);

TEST(SelectRows, TakesThemInOrder) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage x(DType::f32, {3, 2});
  set_elements(x.tensor(), {0, 1, 10, 11, 20, 21});
  std::vector<int32_t> rows{0, 2};
  EXPECT_EQ(elements_of(ops::select_rows(tape, tape.constant(x.tensor()), rows)->value),
            (std::vector<double>{0, 1, 20, 21}));
}

TEST(SelectRows, RowsOutOfOrderOrRangeAreLogicErrors) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage x(DType::f32, {3, 2});
  for (std::vector<int32_t> bad : {std::vector<int32_t>{3}, {-1}, {1, 1}, {2, 0}}) {
    EXPECT_THROW(ops::select_rows(tape, tape.constant(x.tensor()), bad), LogicError);
  }
}

}  // namespace
}  // namespace tandem::test
