#include "nn/layers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <ostream>

#include "base/error.h"
#include "kernels/copy_rows.h"
#include "kernels/plan_check.h"

namespace tandem::test {
namespace {

TEST(Plans, CausalRowsDoNotSeeEachOther) {
  SpanPlan plan;
  nn::plan_causal(plan, 3, 4);
  EXPECT_EQ(plan.sources, 1);
  for (int64_t q = 0; q < 12; ++q) {
    for (int64_t k = 0; k < 12; ++k) EXPECT_EQ(sees(plan, q, 0, k), q / 4 == k / 4 && k <= q) << q << " " << k;
  }
  EXPECT_EQ(plan.allowed_pairs(), 3 * 10);
}

constexpr int64_t kTokens = 13;

struct TestCache {
  Storage k, v;
  bool gathered;
};

struct Layer {
  nn::LayerShape shape;
  ParameterStore store;
  nn::SelfAttentionLayer layer;
  nn::Rotary rotary;
  std::vector<int32_t> positions;
  Storage input;

  static nn::LayerShape layer_shape(int64_t kv_heads, ops::GeluKind gelu) {
    return {.dim = 24,
            .heads = 4,
            .kv_heads = kv_heads,
            .head_dim = 6,
            .mlp_dim = 40,
            .norm_eps = 1e-6,
            .attention_scale = 1 / std::sqrt(6.0),
            .gelu = gelu};
  }

  Layer(const Precision& precision, int64_t kv_heads, ops::GeluKind gelu, ops::RopePairs pairs)
      : shape(layer_shape(kv_heads, gelu)),
        layer(store, "layer", shape),
        positions(kTokens),
        input(DType::f32, {kTokens, shape.dim}) {
    store.allocate(precision, ParameterStore::Gradients::none);
    store.initialise(4);
    rotary.build(kTokens, shape.head_dim, 10000, pairs, precision.residual);
    std::iota(positions.begin(), positions.end(), 0);
    for (int64_t i = 0; i < input.tensor().elements(); ++i) {
      input.tensor().as<float>()[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i * i)));
    }
  }

  // With a cache token t goes to row t of its columns, or, gathered, is read from a copy at row t + 3.
  std::vector<double> run(Tape& tape, int64_t begin, int64_t end, const TestCache* cache) {
    SpanPlan plan;
    std::vector<int32_t> slots, gather;
    int64_t moved = cache && cache->gathered ? 3 : 0;
    for (int64_t t = begin; cache && t < end; ++t) slots.push_back(static_cast<int32_t>(t));
    if (moved) gather.assign(3, -1);
    for (int64_t t = 0; moved && t < begin; ++t) gather.push_back(static_cast<int32_t>(t));
    for (int64_t t = begin; moved && t < end; ++t) gather.push_back(kernels::fresh_row(t - begin));
    nn::CachePass cache_pass{slots, gather};
    nn::CacheColumns columns;
    if (cache) {
      columns = {cache->k.tensor(), cache->v.tensor(), &cache_pass};
      plan.clear(1);
      plan.add_run(0, end - begin);
      plan.add_span({.source = 0, .begin = moved, .end = moved + end, .shift = moved + begin});
    } else {
      nn::plan_causal(plan, 1, end - begin);
    }
    auto first = positions.begin() + begin;
    std::vector<int32_t> at(first, first + (end - begin));
    nn::Pass pass{at, &rotary.table(), &plan};
    tape.reset();
    Var x = tape.residual({end - begin, shape.dim});
    copy_convert(x->value, input.tensor().slice_rows(begin, end));
    Var y = layer.forward(tape, x, pass, cache ? &columns : nullptr);
    std::vector<double> out;
    for (int64_t r = 0; r < y->value.rows(); ++r) {
      for (int64_t i = 0; i < y->value.row_size(); ++i) out.push_back(load_element(y->value, r, i));
    }
    return out;
  }
};

double worst_difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

struct Variant {
  int64_t kv_heads;
  ops::GeluKind gelu;
  ops::RopePairs pairs;
};

std::ostream& operator<<(std::ostream& out, const Variant& v) {
  return out << v.kv_heads << " key heads, GELU " << static_cast<int>(v.gelu) << ", pairs "
             << static_cast<int>(v.pairs);
}

class SelfAttention : public testing::TestWithParam<Variant> {};

// One token at a time and in pieces, through a cache, is the same as all at once: exactly, but for rounding.
TEST_P(SelfAttention, CachedEqualsUncached) {
  Variant v = GetParam();
  for (auto [precision, bound] : {std::pair{Precision::reference(), 1e-13}, std::pair{Precision::float32(), 1e-5}}) {
    Layer layer(precision, v.kv_heads, v.gelu, v.pairs);
    Context ctx(2);
    Tape tape(ctx, precision, Tape::Mode::no_grad);
    std::vector<double> whole = layer.run(tape, 0, kTokens, nullptr);
    for (std::vector<int64_t> cuts :
         {std::vector<int64_t>{0, 13}, {0, 5, 6, 13}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}}) {
      for (bool gathered : {false, true}) {
        Shape shape{kTokens, v.kv_heads, layer.shape.head_dim};
        TestCache cache{Storage(precision.activation, shape), Storage(precision.activation, shape), gathered};
        std::vector<double> pieces;
        for (size_t i = 0; i + 1 < cuts.size(); ++i) {
          std::vector<double> piece = layer.run(tape, cuts[i], cuts[i + 1], &cache);
          pieces.insert(pieces.end(), piece.begin(), piece.end());
        }
        EXPECT_LE(worst_difference(pieces, whole), bound);
      }
    }
  }
}

TEST_P(SelfAttention, LaterTokensDoNotChangeEarlierOnes) {
  Variant v = GetParam();
  Layer layer(Precision::float32(), v.kv_heads, v.gelu, v.pairs);
  Context ctx(2);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  std::vector<double> before = layer.run(tape, 0, kTokens, nullptr);
  for (int64_t i = 0; i < layer.shape.dim; ++i) layer.input.tensor().row<float>(9)[i] += 1.0f + static_cast<float>(i);
  std::vector<double> after = layer.run(tape, 0, kTokens, nullptr);
  auto nine = static_cast<ptrdiff_t>(9 * layer.shape.dim);
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + nine, after.begin()));
  for (int64_t t = 9; t < kTokens; ++t) {
    auto at = static_cast<ptrdiff_t>(t * layer.shape.dim);
    EXPECT_FALSE(std::equal(before.begin() + at, before.begin() + at + layer.shape.dim, after.begin() + at)) << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, SelfAttention,
                         testing::Values(Variant{4, ops::GeluKind::tanh, ops::RopePairs::adjacent},
                                         Variant{2, ops::GeluKind::erf, ops::RopePairs::half_split},
                                         Variant{1, ops::GeluKind::tanh, ops::RopePairs::half_split}));

TEST(Rotary, TablesHaveOneRowPerPosition) {
  nn::Rotary rotary;
  rotary.build(7, 10, 10000, ops::RopePairs::half_split, DType::f32);
  EXPECT_EQ(rotary.table().cos.shape, (Shape{7, 5}));
  EXPECT_EQ(rotary.table().pairs, ops::RopePairs::half_split);
  EXPECT_EQ(load_element(rotary.table().cos, 0, 3), 1);
  EXPECT_EQ(load_element(rotary.table().sin, 0, 3), 0);
  EXPECT_FLOAT_EQ(static_cast<float>(load_element(rotary.table().sin, 6, 0)), std::sin(6.0f));
}

}  // namespace
}  // namespace tandem::test
