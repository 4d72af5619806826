#include "infer/generator.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arch/model_check.h"
#include "base/error.h"

namespace tandem::test {
namespace {

class Generate : public testing::TestWithParam<NamedConfig> {};

GenerationOptions greedy(int64_t max_tokens) {
  GenerationOptions options;
  options.max_tokens = max_tokens;
  options.sampling.log_probabilities = true;
  return options;
}

// Each new token by a full forward over all tokens so far, the block opening where the prompt's last token stands; in
// double, so that a wrong choice of the generator is not excused by rounding.
struct Naive {
  std::vector<int32_t> ids;
  std::vector<double> log_probabilities;
  double smallest_gap = 1e9;  // between the best and the second logit
};

// An encoder-decoder reads what stands before the block, at least one token, and writes the rest behind BOS.
void lay_out_sides(Batch& batch, const ModelConfig& config, int32_t block) {
  std::span<const int32_t> ids = batch.ids;
  size_t read = static_cast<size_t>(std::max(block, 1));
  std::vector<int32_t> written{static_cast<int32_t>(config.bos_id)};
  written.insert(written.end(), ids.begin() + static_cast<long>(read), ids.end());
  std::vector<int32_t> labels(written.size(), kIgnoreLabel);
  bool behind = config.decoder_positions == DecoderPositions::after_prompt;
  Sides sides(batch);
  TokenRange reads = sides.read(ids.first(read));
  sides.write(written, labels, behind ? static_cast<int64_t>(read) : 0, config.max_seq_len - 1, reads);
}

Naive naive_greedy(const ModelConfig& config, std::vector<int32_t> ids, int32_t block, int64_t count) {
  Context ctx(1);
  auto model = random_model(config, Precision::reference());
  Naive out;
  for (int64_t step = 0; step < count; ++step) {
    Batch batch = one_row(ids);
    if (config.arch == Arch::encoder_decoder) {
      lay_out_sides(batch, config, block);
    } else if (block > 0) {
      batch.boundaries = {block};
    }
    std::vector<double> logits = logits_of(*model, batch, ctx).back();
    size_t best = 0;
    for (size_t v = 1; v < logits.size(); ++v) best = logits[v] > logits[best] ? v : best;
    double total = 0, second = -1e9;
    for (size_t v = 0; v < logits.size(); ++v) {
      total += std::exp(logits[v] - logits[best]);
      if (v != best) second = std::max(second, logits[v]);
    }
    out.smallest_gap = std::min(out.smallest_gap, logits[best] - second);
    out.log_probabilities.push_back(-std::log(total));
    out.ids.push_back(static_cast<int32_t>(best));
    ids.push_back(static_cast<int32_t>(best));
  }
  return out;
}

// What tests/arch allows for logits in float32; a log-probability is a difference of two sums of them.
constexpr double kLogitBound = 5e-5;

TEST_P(Generate, GreedyIdsAreThoseOfFullForwards) {
  const ModelConfig& config = GetParam().config;
  Context ctx(2);
  auto model = random_model(config, Precision::float32());
  Generator generator(ctx, *model);
  for (int64_t length : {1, 2, 7, 12}) {
    std::vector<int32_t> ids = random_batch(config, 1, length, {}, static_cast<uint64_t>(length)).ids;
    Generation ours = generator.run(Prompt::continue_text(ids), greedy(10));
    Naive naive = naive_greedy(config, ids, static_cast<int32_t>(length - 1), 10);
    ASSERT_GT(naive.smallest_gap, 2 * kLogitBound) << "the case decides nothing: choose another prompt";
    EXPECT_EQ(ours.ids, naive.ids) << "prompt of " << length;
    EXPECT_EQ(ours.finish_reason, FinishReason::length);
    EXPECT_EQ(ours.prompt_tokens, length);
    ASSERT_EQ(ours.log_probabilities.size(), naive.log_probabilities.size());
    for (size_t i = 0; i < naive.ids.size(); ++i) {
      EXPECT_NEAR(ours.log_probabilities[i], naive.log_probabilities[i], 2 * kLogitBound) << i;
    }
  }
}

TEST_P(Generate, AnswersOpenBehindThePrompt) {
  const ModelConfig& config = GetParam().config;
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  Generator generator(ctx, *model);
  std::vector<int32_t> ids = random_batch(config, 1, 6, {}, 6).ids;
  Generation ours = generator.run(Prompt::answer(ids, 3), greedy(8));
  ids.push_back(3);
  Naive naive = naive_greedy(config, ids, 6, 8);
  ASSERT_GT(naive.smallest_gap, 2 * kLogitBound);
  EXPECT_EQ(ours.ids, naive.ids);
  EXPECT_EQ(ours.prompt_tokens, 7);
}

TEST_P(Generate, ASequenceEndsWithTheModelsRows) {
  const ModelConfig& config = GetParam().config;
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  Generator generator(ctx, *model);
  std::vector<int32_t> ids = random_batch(config, 1, config.max_seq_len, {}, 2).ids;
  EXPECT_THROW(generator.run(Prompt::continue_text(ids), greedy(1)), InputError);
  ids.pop_back();
  Generation one = generator.run(Prompt::continue_text(ids), greedy(5));
  EXPECT_EQ(one.ids.size(), 1u);
  EXPECT_EQ(one.finish_reason, FinishReason::context);
  ids.resize(4);
  Generation rest = generator.run(Prompt::continue_text(ids), greedy(1000));
  EXPECT_EQ(static_cast<int64_t>(rest.ids.size()), config.max_seq_len - 4);
  EXPECT_EQ(rest.finish_reason, FinishReason::context);
}

INSTANTIATE_TEST_SUITE_P(Small, Generate, testing::ValuesIn(small_configs()),
                         [](const auto& named) { return named.param.name; });

class OneModel : public testing::Test {
 protected:
  ModelConfig config_ = small_config(Arch::double_decoder);
  Context ctx_{1};
  std::unique_ptr<Model> model_ = random_model(config_, Precision::float32());
  Generator generator_{ctx_, *model_};
  std::vector<int32_t> ids_ = random_batch(config_, 1, 5, {}, 9).ids;
};

TEST_F(OneModel, EosIsTheLastId) {
  Generation whole = generator_.run(Prompt::continue_text(ids_), greedy(8));
  // The first id that did not occur before it, so that the generation is cut there and nowhere earlier.
  size_t at = 0;
  for (size_t i = 1; i < whole.ids.size() && at == 0; ++i) {
    if (std::find(whole.ids.begin(), whole.ids.begin() + static_cast<long>(i), whole.ids[i]) ==
        whole.ids.begin() + static_cast<long>(i)) {
      at = i;
    }
  }
  GenerationOptions options = greedy(8);
  options.eos = {whole.ids[at]};
  Generation cut = generator_.run(Prompt::continue_text(ids_), options);
  EXPECT_EQ(cut.ids, std::vector<int32_t>(whole.ids.begin(), whole.ids.begin() + static_cast<long>(at) + 1));
  EXPECT_EQ(cut.finish_reason, FinishReason::eos);
}

TEST_F(OneModel, TheCallerEndsIt) {
  std::vector<int32_t> seen;
  auto after = [&](size_t count, Next next) {
    seen.clear();
    return generator_.run(Prompt::continue_text(ids_), greedy(8), [&](int32_t id) {
      seen.push_back(id);
      return seen.size() == count ? next : Next::go_on;
    });
  };
  Generation stopped = after(3, Next::stop);
  EXPECT_EQ(stopped.ids, seen);
  EXPECT_EQ(stopped.ids.size(), 3u);
  EXPECT_EQ(stopped.finish_reason, FinishReason::stop);
  EXPECT_EQ(after(2, Next::cancel).finish_reason, FinishReason::cancelled);
}

TEST_F(OneModel, SampledTokensFollowFromTheSeed) {
  GenerationOptions options = greedy(12);
  options.sampling.temperature = 1.5;
  options.sampling.seed = 1;
  std::vector<int32_t> first = generator_.run(Prompt::continue_text(ids_), options).ids;
  EXPECT_EQ(generator_.run(Prompt::continue_text(ids_), options).ids, first);
  options.sampling.seed = 2;
  EXPECT_NE(generator_.run(Prompt::continue_text(ids_), options).ids, first);
}

TEST_F(OneModel, BadPromptsAndOptionsAreInputErrors) {
  EXPECT_THROW(Prompt::continue_text({}), InputError);
  EXPECT_THROW(Prompt::answer({}, 1), InputError);
  std::vector<int32_t> unknown{1, static_cast<int32_t>(config_.vocab_size)}, negative{-1};
  EXPECT_THROW(generator_.run(Prompt::continue_text(unknown), greedy(1)), InputError);
  EXPECT_THROW(generator_.run(Prompt::continue_text(negative), greedy(1)), InputError);
  EXPECT_THROW(generator_.run(Prompt::continue_text(ids_), greedy(0)), InputError);
  GenerationOptions options = greedy(1);
  options.sampling.top_p = 0;
  EXPECT_THROW(generator_.run(Prompt::continue_text(ids_), options), InputError);
}

}  // namespace
}  // namespace tandem::test
