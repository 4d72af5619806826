#include "train/run_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/temporary_folder.h"
#include "train/progress.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::quiet_hooks;
using test::small_run;
using test::TemporaryFolder;

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> out;
  if (!fs::exists(folder)) return out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    out.push_back(entry.path().string() + " " + std::to_string(entry.last_write_time().time_since_epoch().count()));
  }
  return out;
}

class Plan : public testing::Test {
 protected:
  Plan() : config(small_run(folder / "run")) {}
  RunPlan plan() {
    Context ctx(2);
    return plan_run(ctx, config, quiet_hooks());
  }
  TemporaryFolder folder;
  RunConfig config;
};

TEST_F(Plan, CountsAreThoseOfTheModel) {
  RunPlan p = plan();
  EXPECT_GT(p.config.model.vocab_size, 0);
  auto model = make_model(p.config.model, Precision::float32(), ParameterStore::Gradients::none, "test");
  EXPECT_EQ(p.parameters.total(), model->parameters().elements());
  EXPECT_EQ(p.parameters.embedding, p.config.model.vocab_size * p.config.model.dim);
  EXPECT_EQ(p.parameters.total() - p.parameters.embedding, model->non_embedding_parameters());
  EXPECT_EQ(p.estimate.total_steps, config.steps);
  EXPECT_EQ(p.tokens(), config.steps * config.tokens_per_step());
  EXPECT_DOUBLE_EQ(p.flops(), model->costs().flops_per_training_token * static_cast<double>(p.tokens()));
  EXPECT_EQ(p.estimate.memory.moments, 8 * p.parameters.total());
  config.optimizer.state = OptimizerState::bfloat16;
  EXPECT_EQ(plan().estimate.memory.moments, 4 * p.parameters.total());
  EXPECT_EQ(p.estimate.memory.gradients, 4 * p.parameters.total());
  EXPECT_GE(p.estimate.memory.parameters, 4 * p.parameters.total());
  EXPECT_GT(p.estimate.memory.activations, 0);
  EXPECT_GT(p.estimate.time.step_seconds, 0);
  EXPECT_GE(p.estimate.time.total_seconds, p.estimate.time.step_seconds * static_cast<double>(config.steps));
}

TEST_F(Plan, LeavesNoFiles) {
  plan();
  EXPECT_FALSE(fs::exists(config.output));
  // Neither in the folder of a run that is under way, nor in a cache.
  config.data.cache = (folder / "tokens").string();
  plan();
  EXPECT_FALSE(fs::exists(config.data.cache));
  Context ctx(2);
  TrainHooks hooks = quiet_hooks();
  auto calls = std::make_shared<int>(0);
  hooks.should_stop = [calls] { return ++*calls > 3; };
  train(ctx, config, hooks);
  std::vector<std::string> before = files_in(folder.path());
  RunPlan p = plan();
  EXPECT_EQ(files_in(folder.path()), before);
  EXPECT_EQ(p.steps_done, 3);
}

TEST_F(Plan, RefusesWhatTrainingWouldRefuse) {
  Context ctx(2);
  train(ctx, config, quiet_hooks());
  config.optimizer.lr = 0.5;
  EXPECT_NE(message_of<InputError>([&] { plan(); }).find("optimizer.lr"), std::string::npos);
  config = small_run(folder / "other");
  config.steps = 0;
  EXPECT_THROW(plan(), InputError);
  config = small_run(folder / "other");
  config.data.sources = {(folder / "missing.txt").string()};
  EXPECT_THROW(plan(), InputError);
}

// What arena, pool and scratch are said to hold for a larger micro-batch is what a pass over one then takes.
TEST_F(Plan, ActivationsAreExtrapolatedFromSmallerPasses) {
  config.model.max_seq_len = 512;
  config.micro_batch = 32;  // 16,384 tokens: twice what is tried
  config.data.synthetic_bytes = 400000;
  Context ctx(2);
  RunData data = prepare_run_data(config.data, ctx.pool(), folder / "data");
  ModelConfig sizes = resolve_model(config, data.tokenizer.vocab_size());
  auto model = make_model(sizes, Precision::float32(), ParameterStore::Gradients::wanted, "test");
  model->parameters().initialise(1);
  Optimizer optimizer(ctx, model->parameters(), config.optimizer, 1);
  RunEstimate estimate = estimate_run(
      {.ctx = ctx, .config = config, .data = data, .model = *model, .optimizer = optimizer, .total_steps = 1});
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  Batch batch = data.tokens.rows(512, config.data.seed).next_batch(32);
  Rng rng(1, 0);
  model->prepare(batch, rng);
  model->loss(tape, batch);
  auto arena = static_cast<double>(tape.arena().used_bytes());
  tape.backward();
  double real = arena + static_cast<double>(tape.pool_bytes()) + static_cast<double>(ctx.scratch().most_used_bytes());
  EXPECT_NEAR(static_cast<double>(estimate.memory.activations), real, 0.02 * real);
}

TEST_F(Plan, RefusesWhatCannotFitAndTriesItWhenTold) {
  config.model.dim = 1 << 13;
  config.model.n_heads = 1 << 7;
  config.model.n_encoder_layers = 64;
  config.model.n_decoder_layers = 64;
  std::string message = message_of<JobError>([&] { plan(); });
  EXPECT_NE(message.find("does not fit into memory"), std::string::npos) << message;
  EXPECT_NE(message.find("check_memory=false"), std::string::npos) << message;
  Context ctx(2);
  EXPECT_THROW(train(ctx, config, quiet_hooks()), std::runtime_error);  // no disk has room for its checkpoints either
  EXPECT_FALSE(fs::exists(config.output)) << "a corrected config must find no folder of another run";
}

TEST_F(Plan, TooLargeAMicroBatchIsFoundBeforeItIsComputed) {
  if (machine_memory().total == 0) GTEST_SKIP() << "the system does not say how much memory there is";
  config.micro_batch = 1 << 16;
  config.model.max_seq_len = 4096;
  config.data.synthetic_bytes = 400000;
  std::string message = message_of<JobError>([&] { plan(); });
  EXPECT_NE(message.find("activations"), std::string::npos) << message;
  EXPECT_LT(process_memory().peak, int64_t{4} << 30);
}

TEST_F(Plan, JsonHasWhatTheReportHas) {
  RunPlan p = plan();
  OrderedJson json = to_json(p);
  for (const char* key : {"config", "parameters", "flops", "memory", "time", "disk", "steps", "tokens"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["config"]["model"]["dim"], 32);
  EXPECT_EQ(json["memory"]["total"], p.estimate.memory.total());
  std::string text = report(p);
  for (const char* word : {"dim = 32", "parameters", "FLOPs", "memory", "disk", "time"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word << "\n" << text;
  }
}

TEST(BytesText, HasTwoOrThreeFigures) {
  EXPECT_EQ(bytes_text(0), "0 bytes");
  EXPECT_EQ(bytes_text(999), "999 bytes");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(int64_t{310} << 20), "310 MiB");
  EXPECT_EQ(bytes_text((int64_t{1} << 30) + (int64_t{400} << 20)), "1.4 GiB");
}

TEST(ProgressLine, SaysWhatIsWantedAndNothingOfWhatDidNotHappen) {
  TrainProgress p{.step = 120, .total_steps = 1000, .fraction = 0.12, .loss = 3.2144, .learning_rate = 0.002};
  p.grad_norm = 0.414;
  p.tokens_per_second = 5120;
  p.seconds_left = 63;
  EXPECT_EQ(progress_line(p), "step 120/1000  12%  1:03 left  loss 3.214  5,120 tokens/s  lr 2.00e-03  norm 0.41");
  p.skipped = 2;
  p.rollbacks = 1;
  EXPECT_NE(progress_line(p).find("  skipped 2  went back 1"), std::string::npos);
}

}  // namespace
}  // namespace tandem
