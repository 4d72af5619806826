#include "kernels/peak.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/gemm.h"

namespace tandem::testing {
namespace {

// Bounds that any machine of the last ten years and of the next ten keeps: a unit mistaken by a thousand shows.
TEST(Peak, IsOfThePlausibleOrder) {
  Context ctx(1);
  kernels::Peak peak = kernels::measure_peak(ctx);
  EXPECT_GT(peak.f32_flops, 1e9);
  EXPECT_LT(peak.f32_flops, 1e12);
  EXPECT_GT(peak.read_bytes_per_second, 1e8);
  EXPECT_LT(peak.read_bytes_per_second, 1e12);
  if (has_bf16_products(ctx.isa())) {
    EXPECT_GT(peak.bf16_flops, 1e9);
    EXPECT_LT(peak.bf16_flops, 2e13);
  } else {
    EXPECT_EQ(peak.bf16_flops, 0);
  }
}

Product product(int64_t m, int64_t n, int64_t k) {
  Product p;
  p.m = m;
  p.n = n;
  p.k = k;
  p.a_row_stride = k;
  p.b_row_stride = n;
  p.c_row_stride = n;
  return p;
}

TEST(Gemm, ChunksCoverTheProduct) {
  for (int64_t m : {1, 65, 256, 2048, 32768}) {
    for (int64_t n : {1, 64, 448, 2048, 32768}) {
      for (int64_t k : {1, 448, 1025, 32768}) {
        for (DType result : {DType::f32, DType::bf16}) {
          Product p = product(m, n, k);
          p.result = result;
          ProductChunks size = product_chunks(p);
          EXPECT_TRUE(size.rows >= 1 && size.rows <= m);
          EXPECT_TRUE(size.columns >= 1 && size.columns <= n);
          EXPECT_TRUE(size.depth >= 1 && size.depth <= k);
          // Slices of k would be rounded to bf16 one by one.
          if (result == DType::bf16) {
            EXPECT_EQ(size.depth, k);
          }
        }
      }
    }
  }
}

TEST(Gemm, LargeProductsGiveWorkToSeveralThreads) {
  for (auto [m, n, k] : {std::array<int64_t, 3>{2048, 448, 448}, {448, 448, 2048}, {256, 32768, 448}}) {
    ProductChunks size = product_chunks(product(m, n, k));
    EXPECT_GE((m + size.rows - 1) / size.rows * ((n + size.columns - 1) / size.columns), 2);
  }
}

}  // namespace
}  // namespace tandem::testing
