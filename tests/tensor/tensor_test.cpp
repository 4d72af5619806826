#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/error.h"
#include "tensor/make_shape.h"

namespace tandem {
namespace {

// 0, 1, 2, ... in a tensor of float32 that the vector owns.
struct Counting {
  explicit Counting(const Shape& shape) : values(static_cast<size_t>(shape.elements())) {
    std::iota(values.begin(), values.end(), 0.0f);
    tensor = Tensor(values.data(), DType::f32, shape);
  }
  std::vector<float> values;
  Tensor tensor;
};

TEST(Shape, CountsSizesOfFilesOnlyWhereNoProductOverflows) {
  constexpr int64_t kHuge = int64_t{1} << 32;
  using Sizes = std::vector<int64_t>;
  EXPECT_EQ(element_count(Sizes{}), 1);
  EXPECT_EQ(element_count(Sizes{2, 3, 4}), 24);
  EXPECT_EQ(element_count(Sizes{kHuge, 0, 3}), 0);
  EXPECT_EQ(element_count(Sizes{(int64_t{1} << 60) - 1}), (int64_t{1} << 60) - 1);
  for (const Sizes& sizes : {Sizes{int64_t{1} << 60},
                             {kHuge, kHuge},
                             {INT64_MAX},
                             {INT64_MAX, INT64_MAX},
                             {kHuge, kHuge, 0},
                             {0, kHuge, kHuge},
                             {kHuge, 0, kHuge}}) {
    EXPECT_EQ(element_count(sizes), std::nullopt);
  }
}

TEST(Shape, CountsAndCompares) {
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ(Shape{}.rank(), 0);
  EXPECT_EQ((Shape{2, 3, 4}).elements(), 24);
  EXPECT_EQ((Shape{2, 0}).elements(), 0);
  EXPECT_EQ((Shape{2, 3}).text(), "[2, 3]");
  EXPECT_EQ(Shape{}.text(), "[]");
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{2}), (Shape{2, 0})) << "the rank counts";
}

TEST(Tensor, KnowsItsLayout) {
  Counting c({4, 3, 2});
  EXPECT_EQ(c.tensor.rows(), 4);
  EXPECT_EQ(c.tensor.row_size(), 6);
  EXPECT_EQ(c.tensor.row_stride, 6);
  EXPECT_EQ(c.tensor.elements(), 24);
  EXPECT_EQ(c.tensor.bytes(), 96);
  EXPECT_TRUE(c.tensor.contiguous());
  EXPECT_EQ(c.tensor.row<float>(2)[1], 13.0f);
  Tensor scalar(c.values.data(), DType::f32, {});
  EXPECT_EQ(scalar.rows(), 1);
  EXPECT_EQ(scalar.elements(), 1);
  EXPECT_TRUE(scalar.contiguous());
  EXPECT_FALSE(Tensor().defined());
}

TEST(Tensor, SlicesRowsOfEveryRank) {
  for (const Shape& shape : {Shape{6}, Shape{6, 2}, Shape{6, 2, 3}, Shape{6, 2, 3, 2}}) {
    Counting c(shape);
    Tensor rows = c.tensor.slice_rows(2, 5);
    EXPECT_EQ(rows.shape.rank(), shape.rank());
    EXPECT_EQ(rows.rows(), 3);
    EXPECT_EQ(rows.row_size(), c.tensor.row_size());
    EXPECT_EQ(rows.row<float>(1)[0], 3.0f * static_cast<float>(c.tensor.row_size()));
    EXPECT_TRUE(rows.contiguous());
    EXPECT_EQ(c.tensor.slice_rows(4, 4).elements(), 0);
  }
}

TEST(Tensor, SlicesColumnsInPlace) {
  Counting c({4, 9});
  Tensor columns = c.tensor.slice_columns(3, 6);
  EXPECT_EQ(columns.shape, (Shape{4, 3}));
  EXPECT_FALSE(columns.contiguous());
  EXPECT_EQ(columns.row<float>(2)[1], 22.0f);
  Tensor part = columns.slice_rows(1, 3);
  EXPECT_EQ(part.row<float>(1)[0], 21.0f);
  EXPECT_FALSE(part.contiguous());
  EXPECT_TRUE(columns.slice_rows(1, 2).contiguous()) << "one row has no gap";
  part.row<float>(0)[2] = -1;
  EXPECT_EQ(c.values[9 + 5], -1.0f);
}

TEST(Tensor, ViewsKeepTheRowsOfASlice) {
  Counting c({4, 12});
  Tensor heads = c.tensor.slice_columns(4, 8).view({4, 2, 2});
  EXPECT_EQ(heads.row_stride, 12);
  EXPECT_EQ(heads.row<float>(3)[2], 42.0f);
  Tensor flat = c.tensor.view({8, 6});
  EXPECT_EQ(flat.row<float>(3)[0], 18.0f);
  EXPECT_EQ(c.tensor.view({48}).row_size(), 1);
}

TEST(Elements, LoadWhatWasStoredInEveryType) {
  for (DType dtype :
       {DType::f32, DType::bf16, DType::f64, DType::bf16_in_f64, DType::i32, DType::i64, DType::u8, DType::f16}) {
    alignas(8) char memory[6 * 8] = {};
    Tensor t(memory, dtype, {3, 2});
    for (int r = 0; r < 3; ++r) {
      for (int i = 0; i < 2; ++i) store_element(t, r, i, 10 * r + i);
    }
    for (int r = 0; r < 3; ++r) {
      for (int i = 0; i < 2; ++i) EXPECT_EQ(load_element(t, r, i), 10 * r + i) << dtype_name(dtype);
    }
  }
}

TEST(Elements, RoundAsTheirTypeDoes) {
  double memory[2] = {};
  Tensor t(memory, DType::bf16_in_f64, {2});
  store_element(t, 1, 0, 0.1);
  EXPECT_EQ(memory[1], round_to_bf16(0.1));
  t.dtype = DType::f64;
  store_element(t, 1, 0, 0.1);
  EXPECT_EQ(memory[1], 0.1);
}

TEST(CopyConvert, ConvertsBetweenTypesAndStrides) {
  Counting c({3, 6});
  std::vector<bf16> out(3 * 4, 0);
  Tensor to = Tensor(out.data(), DType::bf16, {3, 4}).slice_columns(1, 3);
  copy_convert(to, c.tensor.slice_columns(2, 4));
  std::vector<float> seen;
  for (bf16 x : out) seen.push_back(bf16_to_float(x));
  EXPECT_EQ(seen, (std::vector<float>{0, 2, 3, 0, 0, 8, 9, 0, 0, 14, 15, 0}));
}

TEST(CopyConvert, CopiesEqualTypesBitByBit) {
  std::vector<uint32_t> from{0x7F800001, 0x80000000, 0x00000001, 0xFFFFFFFF}, to(4);
  copy_convert(Tensor(to.data(), DType::f32, {2, 2}), Tensor(from.data(), DType::f32, {2, 2}));
  EXPECT_EQ(to, from);
}

TEST(CopyConvert, RefusesOtherShapes) {
  Counting a({2, 3}), b({3, 2});
  EXPECT_THROW(copy_convert(a.tensor, b.tensor), LogicError);
}

}  // namespace
}  // namespace tandem
