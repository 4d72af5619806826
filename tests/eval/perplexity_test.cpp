#include "eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arch/model_check.h"
#include "base/error.h"

namespace tandem::test {
namespace {

constexpr int32_t kBos = 1, kEos = 2;  // of small_config()

class Evaluate : public testing::TestWithParam<NamedConfig> {};

// Rows of random tokens; token id i stands for i % 4 bytes.
HeldOut random_heldout(const ModelConfig& config, int64_t tokens, int64_t max_rows = 0) {
  std::vector<uint32_t> ids;
  Rng rng(5, 0);
  for (int64_t i = 0; i < tokens; ++i) ids.push_back(3 + rng.below(static_cast<uint32_t>(config.vocab_size) - 3));
  std::vector<int32_t> bytes;
  for (int32_t id = 0; id < config.vocab_size; ++id) bytes.push_back(id % 4);
  return HeldOut([&](const HeldOut::Visit& visit) { visit(ids); },
                 {.length = config.max_seq_len, .bos = kBos, .eos = kEos}, bytes, max_rows);
}

TEST_P(Evaluate, SumsAreThoseOfTheLogits) {
  const ModelConfig& config = GetParam().config;
  Context ctx(2);
  HeldOut rows = random_heldout(config, 150);  // not a multiple of the rows of a pass
  ASSERT_EQ(rows.rows() % 4, 2);
  auto model = random_model(config, Precision::float32());
  auto exact = random_model(config, Precision::reference());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  EvalResult result = evaluate(*model, tape, rows);

  // The same in double from whole rows of logits, with the blocks that evaluate() promises to be fixed.
  double sum = 0;
  int64_t tokens = 0, correct = 0, bytes = 0;
  for (int64_t first = 0; first < rows.rows(); first += 4) {
    Batch batch = rows.batch(first, 4);
    Rng rng(0x7A11, static_cast<uint64_t>(first / 4));
    batch.objective = default_objective(config.arch);
    exact->prepare(batch, rng);
    auto logits = logits_of(*exact, batch, ctx);
    for (size_t t = 0; t < logits.size(); ++t) {
      int32_t label = batch.loss_labels()[t];
      if (label == kIgnoreLabel) continue;
      double total = 0;
      for (double logit : logits[t]) total += std::exp(logit);
      sum += std::log(total) - logits[t][static_cast<size_t>(label)];
      correct += std::max_element(logits[t].begin(), logits[t].end()) - logits[t].begin() == label;
      bytes += label % 4;
      ++tokens;
    }
  }
  EXPECT_EQ(result.tokens, tokens);
  EXPECT_EQ(result.correct, correct);
  EXPECT_EQ(result.text_bytes, bytes);
  // tests/arch allows 5e-5 per logit; a loss is a logit and an average of them.
  EXPECT_NEAR(result.loss_sum, sum, 1e-4 * static_cast<double>(tokens));
  EXPECT_NEAR(result.loss(), sum / static_cast<double>(tokens), 1e-4);
  EXPECT_DOUBLE_EQ(result.perplexity(), std::exp(result.loss()));
  EXPECT_DOUBLE_EQ(result.bits_per_byte(), result.loss_sum / std::log(2.0) / static_cast<double>(bytes));
  EXPECT_DOUBLE_EQ(result.accuracy(), static_cast<double>(correct) / static_cast<double>(tokens));
}

TEST_P(Evaluate, TwiceTheSame) {
  Context ctx(2);
  HeldOut rows = random_heldout(GetParam().config, 100);
  auto model = random_model(GetParam().config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  double once = evaluate(*model, tape, rows).loss_sum;
  EXPECT_EQ(evaluate(*model, tape, rows).loss_sum, once);
}

INSTANTIATE_TEST_SUITE_P(Small, Evaluate, testing::ValuesIn(small_configs()),
                         [](const auto& named) { return named.param.name; });

TEST(EvaluatePrefixLm, AllArchitecturesAreScoredOnTheSameTokens) {
  Context ctx(2);
  for (double share : {0.25, 0.5, 0.9}) {
    std::vector<EvalResult> results;
    int64_t expected = 0;
    for (Arch arch : {Arch::decoder, Arch::double_decoder, Arch::encoder_decoder, Arch::yoco}) {
      ModelConfig config = small_config(arch);
      HeldOut rows = random_heldout(config, 150);
      auto first = static_cast<int64_t>(std::lround(share * static_cast<double>(rows.length())));
      expected = 0;
      for (int64_t t = 0; t < rows.all().tokens(); ++t) {
        int32_t id = rows.all().ids[static_cast<size_t>(t)];
        expected += t % rows.length() >= first && id != kBos && id != kEos;
      }
      auto model = random_model(config, Precision::float32());
      Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
      results.push_back(evaluate(*model, tape, rows, {.objective = Objective::prefix_lm, .prefix_share = share}));
    }
    for (const EvalResult& result : results) {
      EXPECT_EQ(result.tokens, expected);
      EXPECT_EQ(result.text_bytes, results[0].text_bytes);
      EXPECT_GT(result.text_bytes, 0);
    }
  }
}

TEST(EvaluateObjective, IsThatOfTheRowsUnlessNamed) {
  Context ctx(1);
  ModelConfig config = small_config(Arch::decoder);
  auto model = random_model(config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  HeldOut rows = random_heldout(config, 150);
  int64_t all = evaluate(*model, tape, rows).tokens;
  rows.set_objective(Objective::prefix_lm);
  EXPECT_LT(evaluate(*model, tape, rows).tokens, all);
  EXPECT_EQ(evaluate(*model, tape, rows, {.objective = Objective::text}).tokens, all);
  EXPECT_THROW(evaluate(*model, tape, rows, {.objective = Objective::span_corruption}), InputError);
}

TEST(EvaluateUniform, AModelThatKnowsNothingHasTheVocabularyAsPerplexity) {
  ModelConfig config = small_config(Arch::decoder);
  Context ctx(1);
  // All parameters zero: every logit is zero.
  auto model = make_model(config, Precision::float32(), ParameterStore::Gradients::none, "test");
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  EvalResult result = evaluate(*model, tape, random_heldout(config, 60));
  EXPECT_NEAR(result.perplexity(), static_cast<double>(config.vocab_size), 1e-4);
}

TEST(EvaluateTape, ARecordingTapeIsRefused) {
  ModelConfig config = small_config(Arch::decoder);
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  EXPECT_THROW(evaluate(*model, tape, random_heldout(config, 60)), LogicError);
}

}  // namespace
}  // namespace tandem::test
