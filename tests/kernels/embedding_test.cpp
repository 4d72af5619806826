#include "kernels/embedding.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

const std::vector<int32_t> kIds = {3, 0, 3, 9, 3, 1, 0, 9, 9, 3, 4};

TEST(Embedding, ForwardCopiesRows) {
  for (int64_t d : kAwkwardSizes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      Guarded table(DType::f32, {10, d}, d + 3), y(dtype, {11, d}, d + 5);
      table.fill_normal(1);
      kernels::embedding_forward(context(), y, table, kIds);
      for (int64_t t = 0; t < 11; ++t) {
        for (int64_t i = 0; i < d; ++i) {
          double want = load_element(table, kIds[static_cast<size_t>(t)], i);
          ASSERT_EQ(load_element(y, t, i), dtype == DType::bf16 ? round_to_bf16(want) : want);
        }
      }
      EXPECT_TRUE(table.intact() && y.intact());
    }
  }
}

// Plain sums in the order of t: as many roundings as rows that share an id.
TEST(Embedding, BackwardAddsRowsOfEqualIds) {
  for (int64_t d : kAwkwardSizes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      Guarded dtable(DType::f32, {10, d}, d + 3), dy(dtype, {11, d}, d + 5);
      dtable.fill_normal(1);
      dy.fill_normal(2);
      InDouble want(dtable), dy64(dy), before(dtable);
      kernels::embedding_backward(context(), want, dy64, kIds);
      kernels::embedding_backward(context(), dtable, dy, kIds);
      expect_close(dtable, want, "dtable", [&](int64_t id, int64_t i) {
        double terms = std::abs(load_element(before, id, i));
        for (int64_t t = 0; t < 11; ++t) {
          if (kIds[static_cast<size_t>(t)] == id) terms += std::abs(load_element(dy, t, i));
        }
        return 4 * kUnit * terms;
      });
      EXPECT_TRUE(dtable.intact() && dy.intact());
    }
  }
}

TEST(Embedding, SameBitsForAnyNumberOfThreads) {
  Guarded dy(DType::f32, {11, 300}), first(DType::f32, {10, 300});
  dy.fill_normal(1);
  kernels::embedding_backward(context(1), first.fill(0.1), dy, kIds);
  for (int threads : {2, 3}) {
    Guarded other(DType::f32, {10, 300});
    kernels::embedding_backward(context(threads), other.fill(0.1), dy, kIds);
    EXPECT_TRUE(same_bits(first, other));
  }
}

}  // namespace
}  // namespace tandem::testing
