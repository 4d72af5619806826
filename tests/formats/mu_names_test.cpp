// Mu's parameter names, and the order of its query heads.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/error.h"
#include "formats/authors_names.h"
#include "formats/head_order.h"

namespace tandem {
namespace {

std::vector<std::string> names(std::string_view ours) { return authors_parameter_names(ours, AuthorsModel::mu); }

TEST(MuNames, AreThoseOfTheAuthorsCheckpoints) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(names("embedding.weight"), Names{"transformer.wte.weight"});
  EXPECT_EQ(names("encoder_norm.weight"), Names{"transformer.ln_e.weight"});
  EXPECT_EQ(names("output_norm.weight"), Names{"transformer.ln_f.weight"});
  EXPECT_EQ(names("encoder_layers.12.norm2.weight"), Names{"transformer.e.12.ln2.weight"});
  EXPECT_EQ(names("encoder_layers.0.attention.qkv.bias"),
            (Names{"transformer.e.0.attn.q_linear.bias", "transformer.e.0.attn.k_linear.bias",
                   "transformer.e.0.attn.v_linear.bias"}));
  EXPECT_EQ(names("encoder_layers.3.mlp.up.bias"), Names{"transformer.e.3.mlp.fc1.bias"});
  EXPECT_EQ(names("decoder_layers.1.norm3.weight"), Names{"transformer.h.1.ln3.weight"});
  EXPECT_EQ(names("decoder_layers.1.attention.qkv.weight"),
            (Names{"transformer.h.1.causal_attn.q_linear.weight", "transformer.h.1.causal_attn.k_linear.weight",
                   "transformer.h.1.causal_attn.v_linear.weight"}));
  EXPECT_EQ(names("decoder_layers.1.attention.out.weight"), Names{"transformer.h.1.causal_attn.out_linear.weight"});
  EXPECT_EQ(names("decoder_layers.10.cross_attention.q.weight"), Names{"transformer.h.10.cross_attn.q_linear.weight"});
  EXPECT_EQ(names("decoder_layers.1.cross_attention.kv.bias"),
            (Names{"transformer.h.1.cross_attn.k_linear.bias", "transformer.h.1.cross_attn.v_linear.bias"}));
  EXPECT_EQ(names("decoder_layers.1.cross_attention.out.bias"), Names{"transformer.h.1.cross_attn.out_linear.bias"});
  EXPECT_EQ(names("decoder_layers.0.mlp.down.weight"), Names{"transformer.h.0.mlp.fc2.weight"});
}

// 6 query heads of 2 features, 3 key heads; rows of three columns, the last two rows are keys.
constexpr HeadCounts kHeads{6, 3, 2};

std::vector<float> counted(size_t size) {
  std::vector<float> values(size);
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

TEST(HeadOrders, RowsOfQueriesFollowTheKeyHeadsThatTheyRead) {
  std::vector<float> values = counted(14 * 3);
  reorder_query_heads("decoder_layers.0.attention.qkv.weight", Tensor(values.data(), DType::f32, {14, 3}), kHeads,
                      HeadOrder::tiled, HeadOrder::grouped);
  // Tiled heads 0 and 3 read key head 0, 1 and 4 key head 1, 2 and 5 key head 2.
  std::vector<int64_t> expected{0, 3, 1, 4, 2, 5};
  for (size_t row = 0; row < 14; ++row) {
    auto from = row < 12 ? static_cast<size_t>(expected[row / 2]) * 2 + row % 2 : row;
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(values[row * 3 + i], static_cast<float>(from * 3 + i)) << row;
  }
}

TEST(HeadOrders, ColumnsOfTheOutputProjectionFollowTheRows) {
  std::vector<float> values = counted(2 * 12);
  reorder_query_heads("encoder_layers.0.attention.out.weight", Tensor(values.data(), DType::f32, {2, 12}), kHeads,
                      HeadOrder::tiled, HeadOrder::grouped);
  EXPECT_EQ(std::vector<float>(values.begin(), values.begin() + 12),
            (std::vector<float>{0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}));
  EXPECT_EQ(values[12 + 2], 12 + 6);
}

TEST(HeadOrders, TheWayBackIsTheInverse) {
  for (const char* name : {"decoder_layers.0.cross_attention.q.weight", "decoder_layers.0.cross_attention.q.bias",
                           "decoder_layers.0.attention.qkv.bias", "decoder_layers.0.cross_attention.out.weight"}) {
    bool columns = std::string_view(name).ends_with("out.weight"), bias = std::string_view(name).ends_with("bias");
    Shape shape = bias ? Shape{12} : columns ? Shape{3, 12} : Shape{12, 3};
    std::vector<float> values = counted(static_cast<size_t>(shape.elements())), before = values;
    Tensor t(values.data(), DType::f32, shape);
    reorder_query_heads(name, t, kHeads, HeadOrder::grouped, HeadOrder::tiled);
    EXPECT_NE(values, before) << name;
    reorder_query_heads(name, t, kHeads, HeadOrder::tiled, HeadOrder::grouped);
    EXPECT_EQ(values, before) << name;
  }
}

TEST(HeadOrders, OtherParametersStay) {
  for (const char* name : {"decoder_layers.0.cross_attention.kv.weight", "decoder_layers.0.attention.out.bias",
                           "decoder_layers.0.mlp.up.weight", "output_norm.weight", "embedding.weight"}) {
    std::vector<float> values = counted(36), before = values;
    reorder_query_heads(name, Tensor(values.data(), DType::f32, {12, 3}), kHeads, HeadOrder::tiled, HeadOrder::grouped);
    EXPECT_EQ(values, before) << name;
  }
}

TEST(HeadOrders, ATensorWithoutTheHeadsIsRefused) {
  std::vector<float> values = counted(33);
  EXPECT_THROW(reorder_query_heads("x.attention.q.weight", Tensor(values.data(), DType::f32, {11, 3}), kHeads,
                                   HeadOrder::tiled, HeadOrder::grouped),
               LogicError);
}

}  // namespace
}  // namespace tandem
