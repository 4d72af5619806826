// The interface that every architecture has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "arch/model_check.h"
#include "base/error.h"

namespace tandem::test {
namespace {

class AnyModel : public testing::TestWithParam<NamedConfig> {};

// The loss from whole rows of logits, which head_loss never holds.
TEST_P(AnyModel, LossIsTheCrossEntropyOfItsLogits) {
  Context ctx(2);
  auto model = random_model(GetParam().config, Precision::reference());
  Batch batch = random_batch(model->config(), 2, 10, {3, 8});
  (batch.two_sided ? batch.writer.labels : batch.labels)[4] = kIgnoreLabel;
  std::span<const int32_t> labels = batch.loss_labels();
  auto logits = logits_of(*model, batch, ctx);
  Storage token_loss(DType::f64, {static_cast<int64_t>(labels.size())});
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  ops::LossSum loss = model->loss(tape, batch, true, token_loss.tensor());
  double sum = 0;
  int64_t correct = 0, labelled = 0;
  for (size_t t = 0; t < logits.size(); ++t) {
    double expected = 0;
    if (labels[t] != kIgnoreLabel) {
      double total = 0;
      for (double z : logits[t]) total += std::exp(z);
      auto label = static_cast<size_t>(labels[t]);
      expected = std::log(total) - logits[t][label];
      correct += std::max_element(logits[t].begin(), logits[t].end()) - logits[t].begin() == labels[t];
      ++labelled;
    }
    sum += expected;
    EXPECT_NEAR(load_element(token_loss.tensor(), static_cast<int64_t>(t), 0), expected, 1e-12);
  }
  EXPECT_NEAR(loss.sum, sum, 1e-10);
  EXPECT_EQ(loss.tokens, labelled);
  EXPECT_EQ(loss.correct, correct);
}

// Rows of a batch know nothing of each other.
TEST_P(AnyModel, RowsAreIndependent) {
  Context ctx(2);
  auto model = random_model(GetParam().config, Precision::reference());
  Batch both = random_batch(model->config(), 2, 10, {3, 8});
  Batch second = rows_of(model->config(), both, 1, 2, {3, 8});
  auto of_both = logits_of(*model, both, ctx), alone = logits_of(*model, second, ctx);
  ASSERT_EQ(of_both.size(), 2 * alone.size());
  for (size_t t = 0; t < alone.size(); ++t) {
    EXPECT_LE(largest_difference(of_both[alone.size() + t], alone[t]), 1e-12);
  }
}

TEST_P(AnyModel, ObserverSeesEveryLayerOnce) {
  Context ctx(1);
  auto model = random_model(GetParam().config, Precision::float32());
  std::multiset<std::string> seen;
  model->observe([&](const std::string& name, const Tensor& value) {
    EXPECT_TRUE(value.defined());
    seen.insert(name);
  });
  logits_of(*model, random_batch(model->config(), 1, 6, {2}), ctx);
  const ModelConfig& c = model->config();
  bool decoder = c.arch == Arch::decoder;
  for (int64_t i = 0; i < (decoder ? c.layers() : c.n_decoder_layers); ++i) {
    EXPECT_EQ(seen.count(fmt::format("hidden.dec.{}", i)), 1u);
    EXPECT_EQ(seen.count(fmt::format("dec.{}.lse_self", i)), c.logit_biases ? 1u : 0u);
  }
  for (int64_t i = 0; i < c.n_encoder_layers; ++i) {
    EXPECT_EQ(seen.count(fmt::format("hidden.enc.{}", i)), decoder ? 0u : 1u);
  }
  EXPECT_EQ(seen.count("hidden.out_norm"), 1u);
}

TEST_P(AnyModel, PrepareDrawsWhatTheArchitectureNeeds) {
  auto model = random_model(GetParam().config, Precision::float32());
  Batch batch = random_rows(model->config(), 2, 24);
  batch.objective = default_objective(model->config().arch);
  Batch again = batch;
  std::vector<int32_t> ids = batch.ids;
  Rng rng(5, 1), same(5, 1);
  model->prepare(batch, rng);
  model->prepare(again, same);
  EXPECT_EQ(batch.boundaries, again.boundaries);
  EXPECT_EQ(batch.spans, again.spans);
  EXPECT_EQ(batch.writer.ids, again.writer.ids);
  EXPECT_EQ(batch.ids, ids);
  switch (model->config().arch) {
    case Arch::decoder:
    case Arch::yoco:
      EXPECT_TRUE(batch.boundaries.empty());
      EXPECT_FALSE(batch.two_sided);
      break;
    case Arch::double_decoder:
      // The same set for both rows.
      EXPECT_GE(batch.boundaries.size(), 2u * 2);
      EXPECT_LE(batch.boundaries.size(), 2u * 7);
      for (size_t i = 0; i < batch.boundaries.size() / 2; ++i) {
        EXPECT_EQ(batch.boundaries[i] + 24, batch.boundaries[batch.boundaries.size() / 2 + i]);
      }
      EXPECT_FALSE(batch.two_sided);
      break;
    case Arch::encoder_decoder:
      EXPECT_FALSE(batch.spans.empty());
      EXPECT_EQ(batch.reader.sequences.size(), 2u);
      EXPECT_EQ(batch.writer.blocks.size(), 2u);
      break;
    case Arch::block_transformer:
      EXPECT_EQ(batch.positions, again.positions);
      EXPECT_FALSE(batch.two_sided);
      break;
  }
}

TEST_P(AnyModel, RowsLongerThanTheModelAndUnknownIdsAreInputErrors) {
  Context ctx(1);
  auto model = random_model(GetParam().config, Precision::float32());
  EXPECT_THROW(logits_of(*model, random_batch(model->config(), 1, 2 * 25, {}), ctx), InputError);
  Batch batch = random_batch(model->config(), 1, 5, {});
  batch.ids[2] = 29;
  choose(batch, model->config(), {});
  EXPECT_THROW(logits_of(*model, batch, ctx), InputError);
}

INSTANTIATE_TEST_SUITE_P(Small, AnyModel, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// Gates start neutral: the gated variant begins as the joint softmax.
TEST(GatedVariant, StartsAsOneSoftmax) {
  Context ctx(2);
  ModelConfig joint = small_config(Arch::double_decoder), gated = joint;
  gated.logit_biases = true;
  auto a = make_model(joint, Precision::reference(), ParameterStore::Gradients::none, "test");
  auto b = make_model(gated, Precision::reference(), ParameterStore::Gradients::none, "test");
  a->parameters().initialise(3);
  b->parameters().initialise(4);
  for (const Parameter& p : a->parameters().all()) copy_convert(b->parameters().find(p.name())->master(), p.master());
  b->parameters().refresh_compute();
  Batch batch = random_batch(joint, 2, 12, {3, 7});
  auto x = logits_of(*a, batch, ctx), y = logits_of(*b, batch, ctx);
  for (size_t t = 0; t < x.size(); ++t) EXPECT_LE(largest_difference(x[t], y[t]), 1e-12);
}

TEST(MakeModel, RefusesSizesThatDoNotFit) {
  ModelConfig c = small_config(Arch::decoder);
  c.n_heads = 5;
  EXPECT_THROW(make_model(c, Precision::float32(), ParameterStore::Gradients::none, "test"), InputError);
}

}  // namespace
}  // namespace tandem::test
