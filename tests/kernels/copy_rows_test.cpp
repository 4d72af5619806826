#include "kernels/copy_rows.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace tandem {
namespace {

Storage numbered(DType dtype, const Shape& shape) {
  Storage out(dtype, shape);
  for (int64_t r = 0; r < shape[0]; ++r) {
    for (int64_t i = 0; i < out.tensor().row_size(); ++i) store_element(out.tensor(), r, i, static_cast<double>(r));
  }
  return out;
}

TEST(CopyRows, GatherUndoesScatter) {
  Context ctx(2);
  for (DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    Storage from = numbered(dtype, {130, 2, 3}), to(dtype, {200, 2, 3}), back = numbered(dtype, {131, 2, 3});
    std::vector<int32_t> slots(130);
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<int32_t>((i * 7) % 199);
    kernels::scatter_rows(ctx, to.tensor(), slots, from.tensor());
    slots.push_back(-1);
    kernels::gather_rows(ctx, back.tensor(), to.tensor(), slots);
    for (int64_t r = 0; r < 131; ++r) {
      double expected = r < 130 ? static_cast<double>(r) : 0.0;
      for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(load_element(back.tensor(), r, i), expected);
    }
  }
}

TEST(CopyRows, ReadsColumnsOfAWiderMatrix) {
  Context ctx(1);
  Storage wide(DType::f32, {4, 10}), to(DType::f32, {4, 3});
  std::iota(wide.tensor().as<float>(), wide.tensor().as<float>() + 40, 0.0f);
  std::vector<int32_t> slots{3, 2, 1, 0};
  kernels::scatter_rows(ctx, to.tensor(), slots, wide.tensor().slice_columns(5, 8));
  for (int64_t r = 0; r < 4; ++r) EXPECT_EQ(to.tensor().row<float>(3 - r)[1], static_cast<float>(10 * r + 6));
}

TEST(CopyRows, RowsThatAreNotKeptAndRowsOfTwoTensors) {
  Context ctx(2);
  Storage kept(DType::f32, {4, 3}), fresh(DType::f32, {3, 3}), to(DType::f32, {6, 3});
  std::iota(kept.tensor().as<float>(), kept.tensor().as<float>() + 12, 0.0f);
  std::iota(fresh.tensor().as<float>(), fresh.tensor().as<float>() + 9, 100.0f);
  std::vector<int32_t> rows{3, kernels::fresh_row(0), -1, kernels::fresh_row(2), 0, kernels::fresh_row(1)};
  kernels::gather_rows(ctx, to.tensor(), kept.tensor(), fresh.tensor(), rows);
  std::vector<float> expected{10, 101, 0, 107, 1, 104};
  for (int64_t r = 0; r < 6; ++r) EXPECT_EQ(to.tensor().row<float>(r)[1], expected[static_cast<size_t>(r)]);
  std::vector<int32_t> slots{2, -1, 0}, beyond{0, kernels::fresh_row(3), 0, 0, 0, 0};
  kernels::scatter_rows(ctx, kept.tensor(), slots, fresh.tensor());
  expected = {107, 4, 101, 10};
  for (int64_t r = 0; r < 4; ++r) EXPECT_EQ(kept.tensor().row<float>(r)[1], expected[static_cast<size_t>(r)]);
  EXPECT_THROW(kernels::gather_rows(ctx, to.tensor(), kept.tensor(), fresh.tensor(), beyond), LogicError);
}

TEST(CopyRows, OperandsThatDoNotFitAreRefused) {
  Context ctx(1);
  Storage a(DType::f32, {4, 3}), b(DType::f32, {2, 3}), wide(DType::f32, {2, 4}), half(DType::bf16, {2, 3});
  std::vector<int32_t> two{0, 1}, three{0, 1, 2}, outside{0, 4};
  EXPECT_THROW(kernels::scatter_rows(ctx, a.tensor(), three, b.tensor()), LogicError);
  EXPECT_THROW(kernels::scatter_rows(ctx, a.tensor(), outside, b.tensor()), LogicError);
  EXPECT_THROW(kernels::scatter_rows(ctx, a.tensor(), two, wide.tensor()), LogicError);
  EXPECT_THROW(kernels::scatter_rows(ctx, a.tensor(), two, half.tensor()), LogicError);
  EXPECT_THROW(kernels::gather_rows(ctx, b.tensor(), a.tensor(), outside), LogicError);
}

}  // namespace
}  // namespace tandem
