#include "kernels/product_timing.h"

#include <gtest/gtest.h>

#include "kernels/product_case.h"

namespace tandem::testing {
namespace {

using kernels::faster;
using kernels::ProductTimes;

TEST(ProductTiming, TimesWhoeverHasAKernel) {
  for (DType operands : {DType::f32, DType::bf16}) {
    if (operands == DType::bf16 && !has_bf16_products(context().isa())) continue;
    Product form = weight_gradient(40, 24, 64, operands);
    ProductTimes times = kernels::time_product(context(), form);
    EXPECT_TRUE(context().gemm().has(form, Gemm::By::own));
    EXPECT_TRUE(context().gemm().has(form, Gemm::By::onednn));
    EXPECT_GT(times.own, 0);
    EXPECT_GT(times.onednn, 0);
    EXPECT_LT(times.own, 1);
    EXPECT_LT(times.onednn, 1);
  }
}

TEST(ProductTiming, TheOtherOneMustBeClearlyFaster) {
  Product own = weight_gradient(40, 24, 64, DType::bf16), theirs = weight_gradient(40, 24, 64, DType::f32);
  ASSERT_TRUE(own_kernels(Isa::avx512_bf16, own));
  ASSERT_FALSE(own_kernels(Isa::avx512_bf16, theirs));
  auto by = [&](const Product& form, ProductTimes times) { return faster(Isa::avx512_bf16, form, times); };
  EXPECT_EQ(by(own, {.own = 1, .onednn = 0.98}), Gemm::By::own);
  EXPECT_EQ(by(own, {.own = 1, .onednn = 0.96}), Gemm::By::onednn);
  EXPECT_EQ(by(theirs, {.own = 0.98, .onednn = 1}), Gemm::By::onednn);
  EXPECT_EQ(by(theirs, {.own = 0.96, .onednn = 1}), Gemm::By::own);
  EXPECT_EQ(by(theirs, {.own = 1, .onednn = 0}), Gemm::By::own);
  EXPECT_EQ(by(own, {.own = 0, .onednn = 1}), Gemm::By::onednn);
}

TEST(Gemm, ObeysChoicesUntilTheyAreForgotten) {
  Context ctx(1, context().isa());
  Case c{.form = Form::tn, .m = 40, .n = 24, .k = 64};
  Guarded a(c.operands, shape_a(c)), b(c.operands, shape_b(c)), by_rule(c.result, {c.m, c.n}),
      by_choice(c.result, {c.m, c.n}), direct(c.result, {c.m, c.n});
  a.fill_normal(1);
  b.fill_normal(2);
  Product form = form_of(product_of(c, by_choice, a, b));
  EXPECT_EQ(form.a, nullptr);
  const Gemm::By rule = ctx.gemm().by(form);
  const Gemm::By other = rule == Gemm::By::own ? Gemm::By::onednn : Gemm::By::own;
  std::vector<Product> noted;
  ctx.gemm().note_forms(&noted);
  multiply(ctx, c, by_rule, a, b);
  ctx.gemm().choose(product_of(c, by_choice, a, b), other);
  multiply(ctx, c, by_choice, a, b);
  ctx.gemm().note_forms(nullptr);
  EXPECT_EQ(noted, (std::vector<Product>{form, form}));
  EXPECT_EQ(ctx.gemm().by(product_of(c, by_rule, a, b)), other);
  EXPECT_EQ(ctx.gemm().implementation(form).starts_with("tandem"), other == Gemm::By::own);
  // The same bits as by that side's kernels.
  ctx.gemm().run(ctx.pool(), product_of(c, direct, a, b), other);
  for (int64_t r = 0; r < c.m; ++r) {
    for (int64_t i = 0; i < c.n; ++i) EXPECT_EQ(load_element(by_choice, r, i), load_element(direct, r, i));
  }
  Product larger = form;
  larger.m += 1;
  EXPECT_EQ(ctx.gemm().by(larger), own_kernels(ctx.isa(), larger) ? Gemm::By::own : Gemm::By::onednn);
  ctx.gemm().forget_choices();
  EXPECT_EQ(ctx.gemm().by(form), rule);
}

}  // namespace
}  // namespace tandem::testing
