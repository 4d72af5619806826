// Folding: what study folding scores is what generation with Model::fold() writes, and what it costs is counted right.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "arch/model_check.h"
#include "eval/folding_cost.h"
#include "eval/perplexity.h"

namespace tandem::test {
namespace {

constexpr int64_t kTrained = 24;  // rows of small_config()
constexpr int64_t kLong = 40;

// Rows of one document each.
HeldOut long_rows(const ModelConfig& config, int64_t length, int64_t rows) {
  Batch text = random_rows(config, 1, rows * (length - 1), 6);
  return HeldOut(
      [&](const HeldOut::Visit& visit) {
        visit({reinterpret_cast<const uint32_t*>(text.ids.data()), text.ids.size()});
      },
      {.length = length, .bos = 1, .eos = 2}, {}, 0);
}

// Every token's loss when the row is written token by token with a fold every `interval` tokens.
std::vector<double> written_losses(Model& model, Context& ctx, const Batch& batch, int64_t row, int64_t interval,
                                   EncoderState policy) {
  Tape tape(ctx, model.parameters().precision(), Tape::Mode::no_grad);
  std::unique_ptr<Caches> caches = model.new_caches({.encoder = policy});
  std::unique_ptr<State> state = model.new_state(*caches);
  std::vector<float> logits(static_cast<size_t>(model.config().vocab_size));
  std::vector<double> losses;
  for (int64_t t = 0; t < batch.length; ++t) {
    auto at = static_cast<size_t>(row * batch.length + t);
    tape.reset();
    if (t > 0 && t % interval == 0) {
      model.fold(tape, *state);
      state->settle();
    }
    model.decode(tape, *state, batch.ids[at], logits);
    int32_t label = batch.labels[at];
    double total = 0;
    for (float logit : logits) total += std::exp(static_cast<double>(logit));
    losses.push_back(label == kIgnoreLabel ? 0
                                           : std::log(total) - static_cast<double>(logits[static_cast<size_t>(label)]));
  }
  return losses;
}

class Folding : public testing::TestWithParam<NamedConfig> {};

// Within the trained length and beyond it.
TEST_P(Folding, LossIsThatOfWritingWithFolds) {
  ModelConfig config = GetParam().config;
  if (!learns(config.arch, Objective::text)) GTEST_SKIP() << "does not learn plain text";
  config.max_seq_len = kLong;
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  HeldOut rows = long_rows(config, kLong, 3);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  const std::vector<int64_t> ends{5, kTrained, 30, kLong};
  for (int64_t interval : {int64_t{1}, int64_t{3}, int64_t{8}, kLong}) {
    EvalResult result =
        evaluate(*model, tape, rows, {.objective = Objective::text, .block_tokens = interval, .position_ends = ends});
    for (EncoderState policy : {EncoderState::keep, EncoderState::recompute}) {
      std::vector<PositionLoss> expected(ends.size());
      for (int64_t row = 0; row < rows.rows(); ++row) {
        std::vector<double> losses = written_losses(*model, ctx, rows.all(), row, interval, policy);
        for (int64_t t = 0; t < kLong; ++t) {
          size_t range = 0;
          while (t >= ends[range]) ++range;
          expected[range].loss_sum += losses[static_cast<size_t>(t)];
          expected[range].tokens += rows.all().labels[static_cast<size_t>(row * kLong + t)] != kIgnoreLabel;
        }
      }
      for (size_t i = 0; i < ends.size(); ++i) {
        const PositionLoss& ours = result.by_position[i];
        EXPECT_EQ(ours.begin, i == 0 ? 0 : ends[i - 1]);
        EXPECT_EQ(ours.end, ends[i]);
        EXPECT_EQ(ours.tokens, expected[i].tokens);
        // tests/arch allows 5e-5 per logit; a loss is a logit and an average of them.
        EXPECT_NEAR(ours.loss_sum, expected[i].loss_sum, 1e-4 * static_cast<double>(ours.tokens))
            << "blocks of " << interval << ", range " << i;
      }
    }
  }
}

// What stands within the trained length does not depend on what follows it, nor on longer rotary tables.
TEST_P(Folding, LongSequencesBeginAsRowsOfTheTrainedLength) {
  ModelConfig config = GetParam().config;
  if (!learns(config.arch, Objective::text)) GTEST_SKIP() << "does not learn plain text";
  Context ctx(1);
  auto trained = random_model(config, Precision::float32());
  config.max_seq_len = kLong;
  auto extended = random_model(config, Precision::float32());
  HeldOut whole = long_rows(config, kLong, 1);
  Batch row = whole.all();
  HeldOut beginning(
      [&](const HeldOut::Visit& visit) {
        visit({reinterpret_cast<const uint32_t*>(row.ids.data() + 1), kTrained - 1});
      },
      {.length = kTrained, .bos = 1, .eos = 2}, {}, 0);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  // The last token of the shorter row has no label.
  EvalTask task{.objective = Objective::text, .block_tokens = 5, .position_ends = {kTrained - 1}};
  PositionLoss longer = evaluate(*extended, tape, whole, task).by_position.front();
  EvalResult shorter = evaluate(*trained, tape, beginning, task);
  EXPECT_EQ(longer.tokens, shorter.tokens);
  EXPECT_EQ(longer.tokens, shorter.by_position.front().tokens);
  EXPECT_NEAR(longer.loss_sum, shorter.loss_sum, 1e-4 * static_cast<double>(shorter.tokens));
}

INSTANTIATE_TEST_SUITE_P(Small, Folding, testing::ValuesIn(small_configs()),
                         [](const auto& named) { return named.param.name; });

TEST(FoldingBlocks, AreThoseOfFixedBoundaries) {
  ModelConfig config = small_config(Arch::double_decoder);
  Context ctx(1);
  auto drawn = random_model(config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  HeldOut rows = long_rows(config, kTrained, 6);
  std::vector<double> sums;
  for (int64_t interval : {1, 4, 7, 24}) {
    config.boundaries = {BoundaryKind::fixed, interval};
    auto fixed = random_model(config, Precision::float32());
    sums.push_back(evaluate(*drawn, tape, rows, {.block_tokens = interval}).loss_sum);
    EXPECT_EQ(sums.back(), evaluate(*fixed, tape, rows).loss_sum) << interval;
  }
  EXPECT_NE(sums.front(), sums.back());
}

TEST(FoldingPositions, RangesAddUpToTheWhole) {
  ModelConfig config = small_config(Arch::double_decoder);
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  HeldOut rows = long_rows(config, kTrained, 6);
  EvalResult whole = evaluate(*model, tape, rows, {.position_ends = {1, 8, kTrained}});
  EXPECT_EQ(whole.loss_sum, evaluate(*model, tape, rows).loss_sum);
  double sum = 0;
  int64_t tokens = 0;
  for (const PositionLoss& each : whole.by_position) {
    sum += each.loss_sum;
    tokens += each.tokens;
  }
  EXPECT_EQ(tokens, whole.tokens);
  EXPECT_NEAR(sum, whole.loss_sum, 1e-6 * whole.loss_sum);
  // BOS predicts nothing, and what lies behind the last end is in no range.
  EXPECT_EQ(whole.by_position[0].tokens, 0);
  EvalResult part = evaluate(*model, tape, rows, {.position_ends = {1, 8}});
  ASSERT_EQ(part.by_position.size(), 2u);
  EXPECT_EQ(part.by_position[1].tokens, whole.by_position[1].tokens);
  EXPECT_EQ(part.by_position[1].loss_sum, whole.by_position[1].loss_sum);
}

class FoldingCosts : public testing::Test {
 protected:
  static constexpr int64_t kContext = 100;

  static ModelConfig config_of(int64_t max_seq_len) {
    ModelConfig config = small_config(Arch::double_decoder);
    config.n_decoder_layers = 1;
    config.max_seq_len = max_seq_len;
    return config;
  }
  static Costs costs(int64_t max_seq_len) {
    return make_model(config_of(max_seq_len), Precision::float32(), ParameterStore::Gradients::none, "test")->costs();
  }

  Context ctx_{1};
  std::unique_ptr<Model> model_ = random_model(config_of(2 * kContext), Precision::float32());
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
};

TEST_F(FoldingCosts, BytesAreThoseOfAStateThatWrites) {
  for (EncoderState policy : {EncoderState::keep, EncoderState::recompute}) {
    FoldingLoad load(tape_, *model_, policy, kContext);
    for (int64_t block : {1, 2, 70, 100}) {
      load.cycle(block);  // leaves nothing behind
      FoldingCycle cycle = load.cycle(block);
      EXPECT_EQ(cycle.tokens, block);
      EXPECT_GT(cycle.write_seconds, 0);
      EXPECT_GT(cycle.fold_seconds, 0);
      std::unique_ptr<Caches> caches = model_->new_caches({.encoder = policy});
      std::unique_ptr<State> state = model_->new_state(*caches);
      std::vector<int32_t> ids(static_cast<size_t>(kContext), 3);
      tape_.reset();
      model_->prefill(tape_, *state, std::span(ids).first(static_cast<size_t>(kContext - block / 2)));
      state->settle();
      std::vector<float> logits(static_cast<size_t>(model_->config().vocab_size));
      double live = 0, with_encoder = 0;
      for (int64_t i = 0; i < block; ++i) {
        tape_.reset();
        model_->decode(tape_, *state, 3, logits);
        live += static_cast<double>(state->page_bytes().live) / static_cast<double>(block);
        with_encoder += static_cast<double>(state->page_bytes().with_encoder) / static_cast<double>(block);
      }
      tape_.reset();
      model_->fold(tape_, *state);
      EXPECT_NEAR(cycle.mean_bytes_live, live, 1e-6 * live) << block;
      EXPECT_NEAR(cycle.mean_bytes_with_encoder, with_encoder, 1e-6 * live) << block;
      EXPECT_EQ(cycle.bytes_after_fold, state->page_bytes().with_encoder) << block;
      EXPECT_EQ(policy == EncoderState::recompute, cycle.mean_bytes_live == cycle.mean_bytes_with_encoder);
    }
  }
}

// By the formulas of arch/: a decode step, the encoder's pass over the block, and over what stands before it.
TEST_F(FoldingCosts, FlopsAreThoseOfTheFormulas) {
  const ModelConfig config = config_of(kContext);
  auto context = static_cast<double>(kContext);
  auto encoder = static_cast<double>(config.n_encoder_layers), decoder = static_cast<double>(config.n_decoder_layers);
  double decode = costs(kContext).flops_per_generated_token;
  double per_key = (costs(2 * kContext).flops_per_generated_token - decode) / context / decoder;  // of one layer
  double decoder_matrices = decode - decoder * per_key * context;                                 // and the head
  double all_matrices = costs(kContext).flops_per_training_token / 3 - (encoder + decoder) * per_key * context / 2;
  double projections = decoder * 4.0 * static_cast<double>(config.dim * config.kv_heads() * config.head_size());
  double encoder_matrices = all_matrices - decoder_matrices - projections;
  // Around the middle of a block of even length a token sees half a token more than the context.
  double write = decode + decoder * per_key / 2;
  double read = encoder_matrices + encoder * per_key * (context + 0.5);

  FoldingLoad kept(tape_, *model_, EncoderState::keep, kContext);
  FoldingLoad recomputed(tape_, *model_, EncoderState::recompute, kContext);
  EXPECT_NEAR(kept.flops_per_token(0), write, 1e-9 * write);
  for (double block : {2.0, 10.0, 64.0}) {
    auto tokens = static_cast<int64_t>(block);
    double once = write + read + projections;
    EXPECT_NEAR(kept.flops_per_token(tokens), once, 1e-9 * once) << block;
    double before = context - block / 2;
    double again = once + before * (encoder_matrices + encoder * per_key * (before + 1) / 2) / block;
    EXPECT_NEAR(recomputed.flops_per_token(tokens), again, 1e-9 * again) << block;
  }
}

}  // namespace
}  // namespace tandem::test
