// What is computed once more on the way back is what was computed before: the same bits, in less memory.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "arch/model_check.h"

namespace tandem::test {
namespace {

struct Outcome {
  double loss = 0;
  std::vector<std::string> gradients;  // bytes
  size_t held = 0;                     // when the way back begins
  size_t most_held = 0;
};

Outcome outcome_of(Model& model, Context& ctx, const Batch& batch, Recompute what) {
  Tape tape(ctx, model.parameters().precision(), Tape::Mode::record);
  tape.set_recompute(what);
  model.parameters().zero_gradients();
  Outcome out;
  for (int pass = 0; pass < 2; ++pass) {  // a tape is used again
    tape.reset();
    out.loss = model.loss(tape, batch).sum;
    out.held = tape.arena().used_bytes();
    tape.backward();
  }
  EXPECT_EQ(tape.arena().used_bytes(), out.held) << "what was recomputed is gone";
  EXPECT_TRUE(tape.recording());
  out.most_held = tape.arena().most_used_bytes();
  for (const Parameter& p : model.parameters().all()) {
    std::string bytes(static_cast<size_t>(p.grad().bytes()), '\0');
    std::memcpy(bytes.data(), p.grad().data, bytes.size());
    out.gradients.push_back(std::move(bytes));
  }
  return out;
}

// How often each gradient is added to, as it is announced.
class Additions final : public GradientObserver {
 public:
  void expect(const void* gradient) override {
    EXPECT_FALSE(began_) << "all is announced before the way back";
    ++announced_[gradient];
  }
  void backward_begins() override {
    began_ = true;
    left_ = announced_;
  }
  void added(const void* gradient) override { --left_.at(gradient); }

  const std::map<const void*, int>& announced() const { return announced_; }
  const std::map<const void*, int>& left() const { return left_; }

 private:
  bool began_ = false;
  std::map<const void*, int> announced_, left_;
};

class Recomputed : public testing::TestWithParam<NamedConfig> {};

TEST_P(Recomputed, GradientsAreTheSameBits) {
  Context ctx(2);
  for (const Precision& precision : {Precision::float32(), Precision::bfloat16()}) {
    auto model = random_model(GetParam().config, precision, ParameterStore::Gradients::wanted);
    Batch batch = random_batch(model->config(), 2, 18, {3, 4, 8});
    Outcome kept = outcome_of(*model, ctx, batch, Recompute::none);
    EXPECT_EQ(kept.most_held, kept.held);
    for (Recompute what : {Recompute::attention, Recompute::layers}) {
      Outcome again = outcome_of(*model, ctx, batch, what);
      EXPECT_EQ(again.loss, kept.loss);
      EXPECT_LT(again.held, kept.held);
      EXPECT_LT(again.most_held, kept.most_held);
      for (size_t i = 0; i < kept.gradients.size(); ++i) {
        EXPECT_TRUE(again.gradients[i] == kept.gradients[i]) << model->parameters().all()[i].name();
      }
    }
  }
}

TEST_P(Recomputed, WhatIsAddedToGradientsWasAnnounced) {
  Context ctx(1);
  auto model = random_model(GetParam().config, Precision::float32(), ParameterStore::Gradients::wanted);
  Batch batch = random_batch(model->config(), 2, 18, {3, 4, 8});
  std::map<const void*, int> kept;
  for (Recompute what : {Recompute::none, Recompute::attention, Recompute::layers}) {
    Additions additions;
    Tape tape(ctx, Precision::float32(), Tape::Mode::record);
    tape.set_recompute(what);
    tape.observe(&additions);
    model->loss(tape, batch);
    tape.backward();
    if (what == Recompute::none) kept = additions.announced();
    EXPECT_EQ(additions.announced(), kept);
    for (const auto& [gradient, left] : additions.left()) EXPECT_EQ(left, 0);
  }
  EXPECT_GE(kept.size() + 1, model->parameters().all().size()) << "all but the output's, which the head adds to";
}

INSTANTIATE_TEST_SUITE_P(Small, Recomputed, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// Of many layers nearly nothing but their inputs is held.
TEST(Recompute, LayersCostOneValueEach) {
  Context ctx(2);
  ModelConfig config = small_config(Arch::decoder);
  auto held = [&](int64_t layers, Recompute what) {
    config.n_encoder_layers = 0;
    config.n_decoder_layers = layers;
    auto model = random_model(config, Precision::float32(), ParameterStore::Gradients::wanted);
    Batch batch = random_batch(model->config(), 4, 16, {3, 4, 8});
    return static_cast<double>(outcome_of(*model, ctx, batch, what).most_held);
  };
  double residual = 4 * 16 * 4 * static_cast<double>(config.dim);
  double per_layer = (held(24, Recompute::layers) - held(8, Recompute::layers)) / 16;
  EXPECT_GE(per_layer, residual);
  EXPECT_LE(per_layer, 1.2 * residual);
  EXPECT_GE((held(24, Recompute::none) - held(8, Recompute::none)) / 16, 5 * per_layer);
}

}  // namespace
}  // namespace tandem::test
