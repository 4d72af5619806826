#include "ops/span_attention.h"

#include <cmath>

#include "base/error.h"
#include "ops/fork.h"
#include "ops/lse_gate.h"
#include "ops/op_check.h"

namespace tandem::test {
namespace {

struct Sizes {
  int64_t heads = 2, kv_heads = 2, head_dim = 8;
  int64_t q_dim() const { return heads * head_dim; }
  int64_t kv_dim() const { return kv_heads * head_dim; }
};

// Keys and values side by side in one projection.
ops::KeyValueHeads key_value(Var kv, const Sizes& s) {
  ops::HeadColumns k{0, s.kv_heads, s.head_dim}, v{k.end(), s.kv_heads, s.head_dim};
  return {{kv, k}, {kv, v}};
}

// Queries in one projection, and one projection of keys and values per source.
OpCase attention_case(const std::string& name, const Sizes& s, int64_t queries, std::vector<int64_t> keys,
                      const SpanPlan& plan, bool with_lse = false) {
  OpCase op{.name = name, .longest_sum = s.head_dim, .bf16_roundings = 4, .inputs_are_shareable = false};
  op.inputs.push_back({"q", {queries, s.q_dim()}});
  for (size_t i = 0; i < keys.size(); ++i) {
    op.inputs.push_back({fmt::format("kv{}", i), {keys[i], 2 * s.kv_dim()}});
    op.longest_sum += keys[i];
  }
  op.apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
    std::vector<ops::KeyValueHeads> sources;
    for (Var kv : x.subspan(1)) sources.push_back(key_value(kv, s));
    ops::Heads q{x[0], {0, s.heads, s.head_dim}};
    ops::AttentionOutput out = ops::span_attention(tape, q, sources, plan, 0.7, with_lse);
    if (with_lse) return {{out.o, out.source_lse}};
    return {{out.o}};
  };
  return op;
}

SpanPlan causal_plan(int64_t tokens) {
  SpanPlan plan;
  plan.clear(1);
  plan.add_run(0, tokens);
  plan.add_span({.source = 0, .begin = 0, .end = tokens, .shift = 0});
  return plan;
}

// Blocks open at 3 and 5; own block causally in source 0, earlier blocks in source 1, whose key 0 the first block sees.
SpanPlan double_causal_plan() {
  SpanPlan plan;
  plan.clear(2);
  int64_t opens[] = {0, 3, 5, 8};
  for (int b = 0; b < 3; ++b) {
    plan.add_run(opens[b], opens[b + 1]);
    plan.add_span({.source = 0, .begin = opens[b], .end = opens[b + 1], .shift = 0});
    plan.add_span({.source = 1, .begin = 0, .end = std::max<int64_t>(opens[b], 1)});
  }
  return plan;
}

SpanPlan window_plan() {
  SpanPlan plan;
  plan.clear(1);
  plan.add_run(0, 9);
  plan.add_span({.source = 0, .begin = 0, .end = 9, .shift = 0, .window = 3});
  return plan;
}

// Queries 0 and 1 see nothing, keys 0 and 5 of source 0 are never seen, source 1 serves query 3 only, and one run has
// two spans of one source.
SpanPlan gaps_plan() {
  SpanPlan plan;
  plan.clear(2);
  plan.add_run(0, 2);
  plan.add_run(2, 3);
  plan.add_span({.source = 0, .begin = 1, .end = 3});
  plan.add_run(3, 5);
  plan.add_span({.source = 0, .begin = 1, .end = 2});
  plan.add_span({.source = 0, .begin = 3, .end = 5});
  plan.add_run(5, 6);
  plan.add_span({.source = 0, .begin = 2, .end = 3});
  plan.add_span({.source = 1, .begin = 0, .end = 2});
  return plan;
}

SpanPlan three_sources_plan() {
  SpanPlan plan;
  plan.clear(3);
  plan.add_run(0, 4);
  plan.add_span({.source = 0, .begin = 0, .end = 4, .shift = 0});
  plan.add_span({.source = 1, .begin = 0, .end = 3});
  plan.add_span({.source = 2, .begin = 0, .end = 6, .shift = 2});  // a cache of two keys before the queries' own
  return plan;
}

// A long causal row whose sums run over many tiles.
OpCase self_attention_case() {
  Sizes s;
  SpanPlan plan = causal_plan(7);
  return {
      .name = "attention_of_one_projection",
      .inputs = {{"qkv", {7, 3 * s.q_dim()}}},
      .apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
        ops::HeadColumns q{0, s.heads, s.head_dim}, k{q.end(), s.heads, s.head_dim}, v{k.end(), s.heads, s.head_dim};
        ops::KeyValueHeads source{{x[0], k}, {x[0], v}};
        return {{ops::span_attention(tape, {x[0], q}, {&source, 1}, plan, 0.5).o}};
      },
      .longest_sum = 15,
      .bf16_roundings = 4,
      .inputs_are_shareable = false};
}

INSTANTIATE_TEST_SUITE_P(
    SpanAttention, OpCheck,
    testing::Values(self_attention_case(), attention_case("attention_causal", {}, 8, {8}, causal_plan(8)),
                    attention_case("attention_odd_head", {2, 2, 6}, 8, {8}, causal_plan(8)),
                    attention_case("attention_double_causal", {}, 8, {8, 8}, double_causal_plan()),
                    attention_case("attention_grouped_queries", {4, 2, 8}, 8, {8, 8}, double_causal_plan()),
                    attention_case("attention_one_key_head", {4, 1, 4}, 8, {8}, causal_plan(8)),
                    attention_case("attention_window", {}, 9, {9}, window_plan()),
                    attention_case("attention_gaps", {}, 6, {6, 3}, gaps_plan()),
                    attention_case("attention_three_sources", {}, 4, {4, 3, 6}, three_sources_plan()),
                    attention_case("attention_lse", {}, 8, {8, 8}, double_causal_plan(), true),
                    attention_case("attention_lse_grouped", {4, 2, 8}, 8, {8, 8}, double_causal_plan(), true),
                    attention_case("attention_lse_gaps", {}, 6, {6, 3}, gaps_plan(), true)),
    op_name);

OpCase gate_case() {
  constexpr int64_t kTokens = 5, kHeads = 2, kDim = 8;
  return {.name = "lse_gate",
          .inputs = {{"a", {kTokens, kHeads * kDim}},
                     {"b", {kTokens, kHeads * kDim}},
                     {"lse_a", {1, kHeads, kTokens}, Role::residual},
                     {"lse_b", {1, kHeads, kTokens}, Role::residual}},
          .weights = {{"bias", {kHeads, 2}, Role::vector}, {"temperature", {kHeads}, Role::vector, 0.5, 2}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            return {{ops::lse_gate(tape, {x[0], x[2]}, {x[1], x[3]}, w[0], w[1])}};
          },
          .longest_sum = kDim* kTokens,
          .bf16_roundings = 2,
          .inputs_are_shareable = false};
}

// The gated attention as the double decoder composes it: two attentions read the same queries.
OpCase gated_attention_case() {
  Sizes s;
  SpanPlan own = causal_plan(6), memory;
  memory.clear(1);
  memory.add_run(0, 6);
  memory.add_span({.source = 0, .begin = 0, .end = 4});
  return {.name = "gated_attention",
          .inputs = {{"q", {6, s.q_dim()}, Role::shared_activation},
                     {"own", {6, 2 * s.kv_dim()}},
                     {"memory", {4, 2 * s.kv_dim()}}},
          .weights = {{"bias", {s.heads, 2}, Role::vector}, {"temperature", {s.heads}, Role::vector, 0.5, 2}},
          .apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            ops::HeadColumns columns{0, s.heads, s.head_dim};
            auto attend = [&](Var kv, const SpanPlan& plan) {
              ops::KeyValueHeads source = key_value(kv, s);
              return ops::span_attention(tape, {ops::fork(tape, x[0]), columns}, {&source, 1}, plan, 0.7, true);
            };
            ops::AttentionOutput a = attend(x[1], own), b = attend(x[2], memory);
            return {{ops::lse_gate(tape, a, b, w[0], w[1])}};
          },
          .longest_sum = 64,
          .bf16_roundings = 6,
          .inputs_are_shareable = false};
}

OpCase fork_case() {
  return {.name = "fork",
          .inputs = {{"x", {3, 5}, Role::shared_activation}},
          .apply = [](Tape& tape, std::span<const Var> x, std::span<const Weight>) -> OpResult {
            return {{ops::fork(tape, x[0]), ops::fork(tape, x[0])}};
          },
          .longest_sum = 2};
}

INSTANTIATE_TEST_SUITE_P(Gate, OpCheck, testing::Values(gate_case(), gated_attention_case(), fork_case()), op_name);

struct Attention {
  std::vector<double> o, lse;
};

Attention attend(const Precision& precision, const Sizes& s, const std::vector<double>& q,
                 const std::vector<std::vector<double>>& kv, const SpanPlan& plan) {
  Context ctx(2);
  Tape tape(ctx, precision, Tape::Mode::no_grad);
  auto rows = [](const std::vector<double>& values, int64_t width) {
    return static_cast<int64_t>(values.size()) / width;
  };
  Var queries = tape.activation({rows(q, s.q_dim()), s.q_dim()});
  set_elements(queries->value, q);
  std::vector<ops::KeyValueHeads> sources;
  for (const auto& values : kv) {
    Var v = tape.activation({rows(values, 2 * s.kv_dim()), 2 * s.kv_dim()});
    set_elements(v->value, values);
    sources.push_back(key_value(v, s));
  }
  ops::AttentionOutput out = ops::span_attention(tape, {queries, {0, s.heads, s.head_dim}}, sources, plan, 1, true);
  return {elements_of(out.o->value), elements_of(out.source_lse->value)};
}

// One head of two features, worked out by hand.
TEST(SpanAttention, IsSoftmaxOverTheVisibleKeys) {
  SpanPlan plan;
  plan.clear(2);
  plan.add_run(0, 1);
  plan.add_span({.source = 0, .begin = 0, .end = 1});
  plan.add_span({.source = 1, .begin = 1, .end = 2});
  // Rows of k0 k1 v0 v1; key 0 of source 1 is not visible. Scores with q = (1, 2): 1 and 2.
  Attention out = attend(Precision::reference(), {1, 1, 2}, {1, 2}, {{1, 0, 10, 20}, {9, 9, 9, 9, 0, 1, 30, 50}}, plan);
  double a = std::exp(1) / (std::exp(1) + std::exp(2)), b = 1 - a;
  EXPECT_NEAR(out.o[0], 10 * a + 30 * b, 1e-12);
  EXPECT_NEAR(out.o[1], 20 * a + 50 * b, 1e-12);
  EXPECT_NEAR(out.lse[0], 1, 1e-12);
  EXPECT_NEAR(out.lse[1], 2, 1e-12);
}

TEST(SpanAttention, QueryWithoutKeysGetsZeroAndNoLogSumExp) {
  std::vector<double> q(6 * 16, 0.5);
  std::vector<std::vector<double>> kv{std::vector<double>(6 * 32, 0.25), std::vector<double>(3 * 32, 0.5)};
  for (const Precision& precision : {Precision::reference(), Precision::float32()}) {
    Attention out = attend(precision, {}, q, kv, gaps_plan());
    for (size_t i = 0; i < 32; ++i) EXPECT_EQ(out.o[i], 0);
    for (size_t i = 32; i < out.o.size(); ++i) EXPECT_NE(out.o[i], 0);
    // lse [source, head, query]
    for (size_t query = 0; query < 6; ++query) {
      EXPECT_EQ(std::isinf(out.lse[query]), query < 2) << query;
      EXPECT_EQ(std::isinf(out.lse[12 + query]), query != 5) << query;
    }
  }
}

// Scores beyond the range of float32's exponential.
TEST(SpanAttention, HugeScoresStayFinite) {
  SpanPlan plan = causal_plan(2);
  std::vector<double> q{300, 0, 300, 0};
  std::vector<std::vector<double>> kv{{1, 0, 5, 6, -1, 0, 7, 8}};
  Attention out = attend(Precision::float32(), {1, 1, 2}, q, kv, plan);
  EXPECT_EQ(out.o, (std::vector<double>{5, 6, 5, 6}));
  EXPECT_EQ(out.lse, (std::vector<double>{300, 300}));
}

TEST(SpanAttention, NumberOfSourcesMustMatchThePlan) {
  EXPECT_THROW(attend(Precision::float32(), {1, 1, 2}, {1, 2}, {{1, 0, 10, 20}, {1, 0, 10, 20}}, causal_plan(1)),
               LogicError);
}

// With bias 0 and temperature 1 the gate makes one softmax of two.
TEST(LseGate, NeutralGateIsOneSoftmaxOverBothSources) {
  Context ctx(2);
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  Sizes s;
  std::vector<double> values;
  for (int i = 0; i < 8 * 32; ++i) values.push_back(std::sin(1.7 * i));
  Var q = tape.activation({8, 16}), own = tape.activation({8, 32}), memory = tape.activation({8, 32});
  set_elements(q->value, {values.begin(), values.begin() + 128});
  set_elements(own->value, values);
  std::reverse(values.begin(), values.end());
  set_elements(memory->value, values);
  std::array<ops::KeyValueHeads, 2> sources{key_value(own, s), key_value(memory, s)};
  ops::Heads queries{q, {0, 2, 8}};
  SpanPlan joint = double_causal_plan(), own_only, memory_only;
  own_only.clear(1);
  memory_only.clear(1);
  for (const QueryRun& run : joint.runs) {
    own_only.add_run(run.begin, run.end);
    own_only.add_span(joint.spans[static_cast<size_t>(run.first_span)]);
    KeySpan rest = joint.spans[static_cast<size_t>(run.first_span + 1)];
    rest.source = 0;
    memory_only.add_run(run.begin, run.end);
    memory_only.add_span(rest);
  }
  Storage bias(DType::f64, {2, 2}), temperature(DType::f64, {2});
  set_elements(temperature.tensor(), {1, 1});
  ops::AttentionOutput a = ops::span_attention(tape, queries, {&sources[0], 1}, own_only, 0.7, true);
  ops::AttentionOutput b = ops::span_attention(tape, queries, {&sources[1], 1}, memory_only, 0.7, true);
  Var gated = ops::lse_gate(tape, a, b, {bias.tensor(), {}}, {temperature.tensor(), {}});
  Var one = ops::span_attention(tape, queries, sources, joint, 0.7).o;
  EXPECT_LE(relative_error(elements_of(gated->value), elements_of(one->value)), 1e-14);
}

}  // namespace
}  // namespace tandem::test
