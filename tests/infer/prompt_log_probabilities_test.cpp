// Log-probabilities of prompts are those of the forward pass of training.
#include <cmath>

#include "base/error.h"
#include "infer/engine_check.h"

namespace tandem::test {
namespace {

class PromptLogs : public EngineTest, public testing::WithParamInterface<NamedConfig> {
 protected:
  PromptLogs() : EngineTest(GetParam().config) {}

  GenerationRequest measured(uint64_t seed, int64_t tokens, int64_t top) {
    GenerationRequest asked = request(seed, tokens, 3);
    asked.options.prompt_log_probabilities = top;
    return asked;
  }
  // Of the row with these blocks, in double.
  std::vector<std::vector<double>> expected(const std::vector<int32_t>& ids, const std::vector<int32_t>& boundaries) {
    Context ctx(1);
    auto exact = random_model(config_, Precision::reference());
    Batch batch = one_row(ids);
    batch.boundaries = boundaries;
    std::vector<std::vector<double>> rows = logits_of(*exact, batch, ctx);
    for (auto& row : rows) {
      double total = 0;
      for (double logit : row) total += std::exp(logit);
      for (double& logit : row) logit -= std::log(total);
    }
    return rows;
  }
  void check(const PromptLogProbabilities& ours, const std::vector<int32_t>& ids,
             const std::vector<int32_t>& boundaries, size_t top) {
    auto rows = expected(ids, boundaries);
    ASSERT_EQ(ours.values.size(), ids.size() - 1);
    ASSERT_EQ(ours.top.size(), ids.size() - 1);
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      EXPECT_NEAR(ours.values[t], rows[t][static_cast<size_t>(ids[t + 1])], 1e-4) << t;
      std::vector<double> sorted = rows[t];
      std::sort(sorted.rbegin(), sorted.rend());
      ASSERT_EQ(ours.top[t].size(), top);
      for (size_t n = 0; n < top; ++n) EXPECT_NEAR(ours.top[t][n].log_probability, sorted[n], 1e-4);
    }
  }
};

TEST_P(PromptLogs, AreThoseOfTheTrainingPass) {
  if (!model_->reads_in_pieces()) GTEST_SKIP() << "refused, see below";
  for (int64_t tokens : {1, 2, 17, 150}) {
    for (int64_t step_tokens : {1, 512}) {
      Engine engine(ctx_, *model_, {.step_tokens = step_tokens, .reuse_prefixes = false});
      GenerationRequest asked = measured(7, tokens, 3);
      GenerationResult result = engine.wait(engine.submit(asked));
      EXPECT_EQ(result.error, "");
      check(result.prompt, asked.prompt.ids(), {}, 3);
      asked.options.prompt_log_probabilities.reset();
      expect_same(result.completions.front(), alone(asked));
      EXPECT_EQ(engine.caches().bytes_in_use(), 0);
    }
  }
}

// With a fold the prompt is written in blocks of that many tokens.
TEST_P(PromptLogs, FollowTheBlocksOfTheFold) {
  if (!model_->reads_in_pieces()) GTEST_SKIP() << "refused, see below";
  GenerationRequest asked = measured(7, 40, 0);
  std::vector<int32_t> boundaries;
  asked.options.fold = 7;
  if (config_.arch == Arch::double_decoder) boundaries = {7, 14, 21, 28, 35};
  Engine engine(ctx_, *model_, {.step_tokens = 1});
  check(engine.wait(engine.submit(asked)).prompt, asked.prompt.ids(), boundaries, 0);
}

TEST_P(PromptLogs, OfManyRequestsAtOnce) {
  if (!model_->reads_in_pieces()) GTEST_SKIP() << "refused, see below";
  pack();
  Engine engine(ctx_, *model_, {.most_sequences = 3});
  std::vector<GenerationRequest> all;
  std::vector<Engine::Ticket> tickets;
  for (uint64_t i = 0; i < 6; ++i) {
    all.push_back(measured(i + 1, 1 + static_cast<int64_t>(29 * i), static_cast<int64_t>(i % 3)));
    tickets.push_back(engine.submit(all.back()));
  }
  for (size_t i = 0; i < all.size(); ++i) {
    GenerationResult ours = engine.wait(tickets[i]);
    GenerationResult by_itself = Generator(ctx_, *model_, 2).run_all(all[i].prompt, all[i].options);
    EXPECT_EQ(ours.prompt.values, by_itself.prompt.values);
    expect_same_bits(ours.completions.front(), by_itself.completions.front());
  }
}

TEST_P(PromptLogs, CancelledAndRefused) {
  Engine engine(ctx_, *model_, {.step_tokens = 1, .reuse_prefixes = false});
  if (!model_->reads_in_pieces()) {
    EXPECT_THROW(engine.submit(measured(1, 10, 0)), InputError);
    return;
  }
  EXPECT_THROW(engine.submit(measured(1, 10, -1)), InputError);
  auto flag = std::make_shared<std::atomic<bool>>(false);
  GenerationRequest asked = measured(1, 190, 1);
  asked.cancelled = flag;
  Engine::Ticket ticket = engine.submit(asked);
  engine.step();
  EXPECT_GT(engine.caches().bytes_in_use(), 0);
  *flag = true;
  engine.step();
  EXPECT_EQ(engine.take(ticket)->completions.front().finish_reason, FinishReason::cancelled);
  EXPECT_EQ(engine.caches().bytes_in_use(), 0);
}

INSTANTIATE_TEST_SUITE_P(Small, PromptLogs, testing::ValuesIn(longer_configs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
