#include "ops/embedding.h"

#include "base/error.h"
#include "ops/op_check.h"

namespace tandem::test {
namespace {

OpCase embedding_case(const std::string& name, const Shape& table, std::vector<int32_t> ids) {
  return {.name = name,
          .weights = {{"table", table, Role::vector}},
          .apply = [ids](Tape& tape, std::span<const Var>, std::span<const Weight> w) -> OpResult {
            return {{ops::embedding(tape, w[0], ids)}};
          },
          .longest_sum = static_cast<int64_t>(ids.size())};
}

// Repeated ids, ids that never occur, and the first and the last one.
INSTANTIATE_TEST_SUITE_P(Embedding, OpCheck,
                         testing::Values(embedding_case("embedding", {9, 8}, {0, 8, 3, 3, 5, 3, 8, 1}),
                                         embedding_case("embedding_ragged", {5, 3}, {4, 0, 4}),
                                         embedding_case("embedding_one_id", {2, 16}, std::vector<int32_t>(40, 1))),
                         op_name);

TEST(Embedding, TakesRowsOfTheTable) {
  Context ctx(2);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage table(DType::f32, {3, 2});
  set_elements(table.tensor(), {0, 1, 10, 11, 20, 21});
  std::vector<int32_t> ids{2, 0, 2};
  EXPECT_EQ(elements_of(ops::embedding(tape, {table.tensor(), {}}, ids)->value),
            (std::vector<double>{20, 21, 0, 1, 20, 21}));
}

TEST(Embedding, IdOutsideTheVocabularyIsAnInputError) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage table(DType::f32, {3, 2});
  for (int32_t bad : {-1, 3}) {
    std::vector<int32_t> ids{0, bad};
    EXPECT_THROW(ops::embedding(tape, {table.tensor(), {}}, ids), InputError);
  }
}

}  // namespace
}  // namespace tandem::test
