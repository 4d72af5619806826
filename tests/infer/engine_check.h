// What tests of the engine share: a small model, requests of random ids, and what each gets by itself.
#pragma once

#include <gtest/gtest.h>

#include "arch/model_check.h"
#include "infer/generator.h"

namespace tandem::test {

class EngineTest : public testing::Test {
 protected:
  explicit EngineTest(const ModelConfig& config) : config_(config) {}

  ModelConfig config_;
  Context ctx_{2};
  std::unique_ptr<Model> model_ = random_model(config_, Precision::float32());

  // With packed weights logits are the same bits whatever else is in a pass.
  void pack() { model_->parameters().pack(ctx_, kernels::WeightFormat::f32); }

  GenerationRequest request(uint64_t seed, int64_t prompt_tokens, int64_t max_tokens, double temperature = 0) {
    GenerationRequest out;
    out.prompt = Prompt::continue_text(random_rows(config_, 1, prompt_tokens, seed).ids);
    out.options.max_tokens = max_tokens;
    out.options.sampling.temperature = temperature;
    out.options.sampling.seed = seed;
    out.options.sampling.log_probabilities = true;
    return out;
  }
  Generation alone(const GenerationRequest& request) {
    Generator generator(ctx_, *model_);
    return generator.run(request.prompt, request.options);
  }
  static void expect_same(const Generation& ours, const Generation& expected) {
    EXPECT_EQ(ours.ids, expected.ids);
    EXPECT_EQ(ours.finish_reason, expected.finish_reason);
    ASSERT_EQ(ours.log_probabilities.size(), expected.log_probabilities.size());
    for (size_t i = 0; i < ours.ids.size(); ++i) {
      EXPECT_NEAR(ours.log_probabilities[i], expected.log_probabilities[i], 1e-4) << i;
    }
  }
  // To the last bit; of packed models.
  static void expect_same_bits(const Generation& ours, const Generation& expected) {
    EXPECT_EQ(ours.ids, expected.ids);
    EXPECT_EQ(ours.finish_reason, expected.finish_reason);
    EXPECT_EQ(ours.log_probabilities, expected.log_probabilities);
    ASSERT_EQ(ours.top_log_probabilities.size(), expected.top_log_probabilities.size());
    for (size_t i = 0; i < ours.top_log_probabilities.size(); ++i) {
      const auto &a = ours.top_log_probabilities[i], &b = expected.top_log_probabilities[i];
      ASSERT_EQ(a.size(), b.size());
      for (size_t n = 0; n < a.size(); ++n) {
        EXPECT_EQ(a[n].id, b[n].id);
        EXPECT_EQ(a[n].log_probability, b[n].log_probability);
      }
    }
  }
};

// The small models with rows of several pages.
inline std::vector<NamedConfig> longer_configs() {
  std::vector<NamedConfig> all = small_configs();
  for (NamedConfig& each : all) each.config.max_seq_len = 200;
  return all;
}

}  // namespace tandem::test
