#include "train/non_finite.h"

#include <gtest/gtest.h>

#include <cmath>

#include "train/training_check.h"

namespace tandem {
namespace {

using test::Bench;

std::vector<Batch> two_batches(const ModelConfig& config) {
  return {test::random_batch(config, 2, 1), test::random_batch(config, 2, 2)};
}

void fill(Bench& bench, const std::string& name, float factor) {
  Parameter* p = bench.model->parameters().find(name);
  ASSERT_NE(p, nullptr) << name;
  for (int64_t i = 0; i < p->master().elements(); ++i) p->master().as<float>()[i] *= factor;
  bench.model->parameters().refresh_compute();
}

TEST(FirstNonFinite, IsNothingInAHealthyModel) {
  for (Arch arch : {Arch::decoder, Arch::double_decoder}) {
    Bench bench(test::small_model(arch));
    EXPECT_EQ(first_non_finite(*bench.model, bench.tape, two_batches(bench.model->config())), "");
  }
}

TEST(FirstNonFinite, NamesAParameterBeforeWhatItSpoils) {
  Bench bench(test::small_model(Arch::decoder));
  bench.model->parameters().find("layers.1.attention.out.weight")->master().as<float>()[3] = INFINITY;
  EXPECT_EQ(first_non_finite(*bench.model, bench.tape, two_batches(bench.model->config())),
            "layers.1.attention.out.weight");
}

// 1e30 times a weight of the second layer's last product: its squares overflow nowhere before, the sum behind does.
TEST(FirstNonFinite, NamesTheActivationInTheOrderOfTheForwardPass) {
  Bench bench(test::small_model(Arch::decoder));
  fill(bench, "layers.1.mlp.up.weight", 1e25F);
  fill(bench, "layers.1.mlp.down.weight", 1e25F);
  EXPECT_EQ(first_non_finite(*bench.model, bench.tape, two_batches(bench.model->config())), "hidden.dec.1 activation");
}

// Tiny queries and huge keys have scores of the usual size. The gradient of the queries is that of the scores times the
// keys: with a loss that is steep enough it overflows, and so does that of the queries' weights.
TEST(FirstNonFinite, NamesTheGradientInTheOrderOfTheBackwardPass) {
  ModelConfig config = test::small_model(Arch::double_decoder);
  Bench bench(config);
  fill(bench, "decoder_layers.0.attention.q.weight", 2e-38F);
  fill(bench, "output_norm.weight", 1e4F);
  Parameter* kv = bench.model->parameters().find("decoder_layers.0.attention.kv.weight");
  int64_t keys = kv->master().elements() / 2;  // then values
  for (int64_t i = 0; i < keys; ++i) kv->master().as<float>()[i] *= 2e37F;
  EXPECT_EQ(first_non_finite(*bench.model, bench.tape, two_batches(config)),
            "decoder_layers.0.attention.q.weight gradient");
}

// Token 40 is never read; as one that could be written it makes every loss overflow. The first micro-batch has no
// labels.
TEST(FirstNonFinite, LooksAtEveryMicroBatch) {
  ModelConfig config = test::small_model(Arch::decoder);
  Bench bench(config);
  std::vector<Batch> batches = two_batches(config);
  for (Batch& batch : batches) {
    for (int32_t& id : batch.ids) id = id == 40 ? 39 : id;
  }
  for (int32_t& label : batches[0].labels) label = kIgnoreLabel;
  Parameter* table = bench.model->parameters().find("embedding.weight");
  for (int64_t c = 0; c < config.dim; ++c) table->master().as<float>()[40 * config.dim + c] = 3e38F;
  EXPECT_EQ(first_non_finite(*bench.model, bench.tape, {batches.data(), 1}), "");
  EXPECT_EQ(first_non_finite(*bench.model, bench.tape, batches), "loss");
}

TEST(FirstNonFinite, LeavesTheParametersAlone) {
  Bench bench(test::small_model()), fresh(test::small_model());
  first_non_finite(*bench.model, bench.tape, two_batches(bench.model->config()));
  EXPECT_TRUE(test::same_parameters(bench.model->parameters(), fresh.model->parameters()));
  for (Bench* b : {&bench, &fresh}) {
    b->step.accumulate(test::random_batch(b->model->config(), 2, 3));
    b->step.finish(1);
  }
  EXPECT_TRUE(test::same_parameters(bench.model->parameters(), fresh.model->parameters()));
}

}  // namespace
}  // namespace tandem
