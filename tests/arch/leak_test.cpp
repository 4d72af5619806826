// What a logit may depend on, found out by changing one token.
#include <gtest/gtest.h>

#include <cmath>

#include "arch/double_decoder.h"
#include "arch/model_check.h"
#include "base/error.h"

namespace tandem::test {
namespace {

class Leak : public testing::TestWithParam<NamedConfig> {};

// Whether token `changed` reaches the logits of each token of its row.
std::vector<bool> reach(Model& model, Context& ctx, const Batch& batch, int64_t changed) {
  auto before = logits_of(model, batch, ctx);
  Batch other = batch;
  int32_t& id = other.ids[static_cast<size_t>(changed)];
  id = static_cast<int32_t>((id + 1) % model.config().vocab_size);
  auto after = logits_of(model, other, ctx);
  std::vector<bool> reached;
  for (size_t t = 0; t < before.size(); ++t) reached.push_back(before[t] != after[t]);
  return reached;
}

TEST_P(Leak, LogitsDependOnAllEarlierTokensAndOnNoLaterOne) {
  Context ctx(2);
  auto model = random_model(GetParam().config, Precision::float32());
  constexpr int64_t kLength = 12;
  Batch batch = random_batch(model->config(), 2, kLength, {3, 4, 9});
  for (int64_t changed = 0; changed < 2 * kLength; ++changed) {
    std::vector<bool> reached = reach(*model, ctx, batch, changed);
    for (int64_t t = 0; t < 2 * kLength; ++t) {
      bool expected = t / kLength == changed / kLength && t >= changed;
      EXPECT_EQ(reached[static_cast<size_t>(t)], expected) << "token " << changed << " to " << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Small, Leak, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// With one encoder and one decoder layer the ways are few enough to be told apart: silence the decoder's reading of the
// memory (zero its value projection) and only the own block is left, and the other way round.
void zero_rows(Parameter* p, int64_t begin, int64_t end) {
  ASSERT_NE(p, nullptr);
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t i = 0; i < p->master().row_size(); ++i) store_element(p->master(), r, i, 0.0);
  }
}

ModelConfig two_layers() {
  ModelConfig config = small_config(Arch::double_decoder);
  config.memory_kv = MemoryKv::per_layer;
  config.n_encoder_layers = config.n_decoder_layers = 1;
  return config;
}

TEST(DoubleDecoderLeak, WithoutMemoryValuesOnlyTheOwnBlockIsRead) {
  Context ctx(2);
  auto model = random_model(two_layers(), Precision::float32());
  // Neither values nor scores of the memory may vary.
  zero_rows(model->parameters().find("decoder_layers.0.attention.memory_kv.weight"), 0, 2 * 32);
  std::vector<int32_t> boundaries{3, 4, 9};
  Batch batch = random_batch(model->config(), 1, 12, boundaries);
  auto block = [&](int64_t t) {
    return std::count_if(boundaries.begin(), boundaries.end(), [=](int b) { return b <= t; });
  };
  for (int64_t changed = 0; changed < 12; ++changed) {
    std::vector<bool> reached = reach(*model, ctx, batch, changed);
    for (int64_t t = 0; t < 12; ++t) {
      EXPECT_EQ(reached[static_cast<size_t>(t)], t >= changed && block(t) == block(changed)) << changed << " to " << t;
    }
  }
}

TEST(DoubleDecoderLeak, WithoutOwnValuesOnlyEarlierBlocksAndTheTokenItselfAreRead) {
  Context ctx(2);
  auto model = random_model(two_layers(), Precision::float32());
  zero_rows(model->parameters().find("decoder_layers.0.attention.kv.weight"), 0, 2 * 32);
  std::vector<int32_t> boundaries{3, 4, 9};
  Batch batch = random_batch(model->config(), 1, 12, boundaries);
  auto open = [&](int64_t t) {
    int64_t opened = 0;
    for (int32_t b : boundaries) opened = b <= t ? b : opened;
    return opened;
  };
  for (int64_t changed = 0; changed < 12; ++changed) {
    std::vector<bool> reached = reach(*model, ctx, batch, changed);
    for (int64_t t = 0; t < 12; ++t) {
      // The encoder is causal over the row, so its output before the block carries all tokens before the block; block 0
      // reads the encoder's output of token 0.
      bool expected = changed == t || changed < open(t) || changed == 0;
      EXPECT_EQ(reached[static_cast<size_t>(t)], expected) << changed << " to " << t;
    }
  }
}

// Where blocks open matters, and nothing but the row's own blocks does.
TEST(DoubleDecoderLeak, ABoundaryChangesTheLogitsFromThereOn) {
  Context ctx(2);
  auto model = random_model(small_config(Arch::double_decoder), Precision::float32());
  auto one = logits_of(*model, random_batch(model->config(), 1, 12, {3, 8}), ctx);
  auto other = logits_of(*model, random_batch(model->config(), 1, 12, {3, 6}), ctx);
  for (size_t t = 0; t < 6; ++t) EXPECT_EQ(one[t], other[t]);
  for (size_t t = 6; t < 12; ++t) EXPECT_NE(one[t], other[t]);
}

TEST(DoubleDecoderLeak, BoundariesOutOfOrderOrRangeAreInputErrors) {
  Context ctx(1);
  auto model = random_model(small_config(Arch::double_decoder), Precision::float32());
  for (std::vector<int32_t> bad : {std::vector<int32_t>{0}, {-1}, {5, 5}, {6, 5}, {12}}) {
    EXPECT_THROW(logits_of(*model, random_batch(model->config(), 1, 12, bad), ctx), InputError);
  }
}

}  // namespace
}  // namespace tandem::test
