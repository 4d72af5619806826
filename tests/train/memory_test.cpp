// Predicted memory against what passes and steps really take.
#include "train/memory.h"

#include <gtest/gtest.h>

#include "base/machine.h"
#include "train/training_check.h"

namespace tandem {
namespace {

using test::Bench;

ModelConfig model_of(Arch arch) {
  ModelConfig c = test::small_model(arch);
  c.max_seq_len = 96;
  c.bos_id = 1;
  c.eos_id = 2;
  c.sentinel_start = 3;
  c.n_sentinels = 8;
  return c;
}

PassMemory really(Bench& bench, Recompute recompute, const Batch& packed, Tape::Mode mode) {
  Batch batch = packed;
  Rng rng(0, 0);
  bench.model->prepare(batch, rng);
  Tape tape(bench.ctx, bench.model->parameters().precision(), mode);
  tape.set_recompute(recompute);
  bench.model->loss(tape, batch, mode == Tape::Mode::no_grad);
  if (mode == Tape::Mode::record) tape.backward();
  return {static_cast<int64_t>(tape.arena().most_used_bytes()), static_cast<int64_t>(tape.pool_bytes()),
          static_cast<int64_t>(bench.ctx.scratch().most_used_bytes())};
}

TEST(Memory, PassesThatComputeNothingTakeTheSame) {
  for (Arch arch : {Arch::decoder, Arch::double_decoder, Arch::encoder_decoder, Arch::yoco, Arch::block_transformer}) {
    for (Recompute recompute : {Recompute::none, Recompute::attention, Recompute::layers}) {
      for (Precision precision : {Precision::float32(), Precision::bfloat16()}) {
        if (precision == Precision::bfloat16() && !has_bf16_products(Context(1).isa())) continue;
        SCOPED_TRACE(
            fmt::format("{} {} {}", arch_name(arch), static_cast<int>(recompute), dtype_name(precision.activation)));
        Bench dry(model_of(arch), {}, 2, precision), real(model_of(arch), {}, 2, precision);
        Rng rng(5, 0);
        Batch rows = random_rows(model_of(arch), default_objective(arch), 3, rng);
        for (Tape::Mode mode : {Tape::Mode::record, Tape::Mode::no_grad}) {
          PassMemory got = pass_memory(dry.ctx, *dry.model, recompute, rows, mode);
          PassMemory want = really(real, recompute, rows, mode);
          EXPECT_EQ(got.arena, want.arena);
          EXPECT_EQ(got.pool, want.pool);
          EXPECT_EQ(got.scratch, want.scratch);
        }
        EXPECT_TRUE(test::same_parameters(dry.model->parameters(), real.model->parameters()));
      }
    }
  }
}

// Random rows of tokens do for every model, also for one that answers and has no sentinel tokens.
TEST(Memory, RandomRowsAskForNoSentinels) {
  ModelConfig config = model_of(Arch::encoder_decoder);
  config.sentinel_start = -1;
  config.n_sentinels = 0;
  Bench bench(config);
  Rng rng(5, 0);
  for (Objective objective : {Objective::conversation, plain_objective(config.arch)}) {
    Batch rows = random_rows(config, objective, 2, rng);
    EXPECT_GT(pass_memory(bench.ctx, *bench.model, Recompute::none, rows, Tape::Mode::record).arena, 0);
  }
}

TEST(Memory, RowsBeyondThoseTriedFollowOnALine) {
  ModelConfig config = model_of(Arch::double_decoder);
  config.max_seq_len = 4096;
  Bench bench(config);
  RunConfig run;
  run.model = config;
  Rng rng(5, 0);
  auto activations = [&](int64_t rows) {
    run.micro_batch = rows;
    MemoryEstimate memory =
        model_memory({.ctx = bench.ctx, .config = run, .model = *bench.model, .rows = [&](int64_t n) {
                        EXPECT_LE(n * 4096, kDryTokens);
                        return random_rows(config, Objective::text, n, rng);
                      }});
    return memory.activations;
  };
  Batch rows = random_rows(config, Objective::text, 24, rng);
  auto want =
      static_cast<double>(pass_memory(bench.ctx, *bench.model, run.recompute, rows, Tape::Mode::record).total());
  EXPECT_NEAR(static_cast<double>(activations(24)), want, 0.01 * want);
}

TEST(Memory, RowsOfDocumentsThatDoNotSeeEachOther) {
  ModelConfig config = model_of(Arch::double_decoder);
  config.max_seq_len = 12;
  Rng rng(5, 0);
  Batch rows = random_rows(config, Objective::text, 2, rng, 4);
  EXPECT_TRUE(rows.isolated);
  EXPECT_EQ(rows.texts(), (std::vector<TokenRange>{{0, 4}, {4, 8}, {8, 12}, {12, 16}, {16, 20}, {20, 24}}));
  EXPECT_EQ(rows.positions,
            (std::vector<int32_t>{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}));
  // The last token of a document has nothing to predict.
  EXPECT_EQ(rows.labelled(), 2 * 9);
  for (size_t i = 3; i < rows.labels.size(); i += 4) EXPECT_EQ(rows.labels[i], kIgnoreLabel);
}

// What the process grows by in two steps, and what was said before. Sizes at which the pages count and not their ends.
TEST(Memory, AProcessGrowsByWhatWasPredicted) {
  if (process_memory().resident == 0) GTEST_SKIP() << "the system does not say what a process holds";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's shadow memory counts too";
#endif
  for (Recompute recompute : {Recompute::none, Recompute::layers}) {
    for (OptimizerState state : {OptimizerState::float32, OptimizerState::bits8}) {
      ModelConfig config = model_of(Arch::double_decoder);
      config.vocab_size = 16384;
      config.dim = 128;
      config.n_heads = 2;
      config.n_encoder_layers = 4;
      config.n_decoder_layers = 2;
      config.max_seq_len = 1024;
      RunConfig run;
      run.model = config;
      run.micro_batch = 1;
      run.recompute = recompute;
      run.optimizer.state = state;
      Context ctx(2);
      auto model = make_model(config, Precision::float32(), ParameterStore::Gradients::wanted, "test");
      Rng rng(5, 0);
      Batch rows = random_rows(config, Objective::text, 1, rng);
      MemoryEstimate predicted =
          model_memory({.ctx = ctx, .config = run, .model = *model, .rows = [&](int64_t) { return rows; }});
      int64_t before = process_memory().resident;
      model->parameters().initialise(1);
      Optimizer optimizer(ctx, model->parameters(), run.optimizer, 1);
      Tape tape(ctx, Precision::float32(), Tape::Mode::record);
      tape.set_recompute(recompute);
      TrainingStep step(*model, tape, optimizer);
      model->prepare(rows, rng);
      for (int i = 0; i < 2; ++i) {
        step.accumulate(rows);
        EXPECT_TRUE(step.finish(1).applied);
      }
      auto grown = static_cast<double>(process_memory().resident - before);
      EXPECT_NEAR(static_cast<double>(predicted.total()), grown, 0.1 * grown)
          << static_cast<int>(recompute) << " " << state_name(state);
    }
  }
}

}  // namespace
}  // namespace tandem
