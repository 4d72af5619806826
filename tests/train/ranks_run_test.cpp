// Whole runs on several ranks: the course of one rank, whatever their number, with and without ZeRO, stopped and
// resumed.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "dist/thread_ranks.h"
#include "train/checkpoint.h"
#include "train/training_check.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

// Losses of one rank and of several differ by the rounding of float32 sums in another order: 2e-7 per sum, a little
// more with each step that builds on them.
constexpr double kLossRounding = 1e-4;

// `size` 0: without any communicator.
TrainResult run_on(
    int size, const RunConfig& config,
    const std::function<TrainHooks(int rank)>& hooks_of = [](int) { return quiet_hooks(); }) {
  if (size == 0) {
    Context ctx(1);
    return train(ctx, config, hooks_of(0));
  }
  TrainResult result;
  ThreadRanks ranks(size);
  ranks.run([&](Communicator& comm) {
    Context ctx(1);
    TrainHooks hooks = hooks_of(comm.rank());
    hooks.ranks = &comm;
    TrainResult own = train(ctx, config, hooks);
    if (comm.rank() == 0) result = own;
  });
  return result;
}

// Rank `asking` wants to stop behind the given step; the others never ask.
std::function<TrainHooks(int)> stopping_at(int64_t step, int asking) {
  return [=](int rank) {
    TrainHooks hooks = quiet_hooks();
    auto asked = std::make_shared<int64_t>(0);
    if (rank == asking) hooks.should_stop = [asked, step] { return (*asked)++ >= step; };
    return hooks;
  };
}

class RunOnRanks : public ::testing::Test {
 protected:
  RunConfig config_in(const std::string& name) const {
    RunConfig config = small_run(folder / name);
    config.precision = PrecisionChoice::float32;
    config.data.cache = (folder / "tokens").string();
    config.log_every = 1;
    return config;
  }
  void expect_same_course(const RunConfig& a, const RunConfig& b) const {
    std::vector<Json> first = log_lines(a), second = log_lines(b);
    ASSERT_EQ(first.size(), second.size());
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(first[i]["step"], second[i]["step"]);
      for (const char* key : {"loss", "heldout_loss"}) {
        if (!first[i].contains(key)) continue;
        EXPECT_NEAR(first[i][key].get<double>(), second[i][key].get<double>(), kLossRounding) << first[i];
      }
    }
  }
  TemporaryFolder folder;
};

TEST_F(RunOnRanks, OneTwoAndFourHaveTheSameCurve) {
  RunConfig alone = config_in("alone");
  TrainResult expected = run_on(0, alone);
  EXPECT_FALSE(expected.communication.has_value());
  RunConfig one = config_in("1");
  run_on(1, one);
  EXPECT_TRUE(model_bytes(one) == model_bytes(alone));
  auto model = make_model(model_config_of(alone, prepare_run_data(alone.data, Context(1).pool(), folder / "alone")),
                          Precision::float32(), ParameterStore::Gradients::wanted, "test");
  for (int size : {2, 4}) {
    RunConfig config = config_in(std::to_string(size));
    TrainResult result = run_on(size, config);
    EXPECT_EQ(result.steps, 12);
    EXPECT_EQ(result.tokens, expected.tokens);
    expect_same_course(config, alone);
    ASSERT_TRUE(result.communication.has_value());
    EXPECT_EQ(result.communication->ranks, size);
    EXPECT_EQ(result.communication->bytes_per_step, predicted_step_bytes(config, model->parameters(), size));
    EXPECT_GE(result.communication->wait_seconds, 0);
  }
}

TEST_F(RunOnRanks, ZeroHasTheSameBitsAndCheckpoints) {
  RunConfig plain = config_in("plain"), zero = config_in("zero");
  zero.zero = true;
  run_on(2, plain);
  TrainResult result = run_on(2, zero);
  EXPECT_TRUE(result.communication->zero);
  EXPECT_TRUE(model_bytes(zero) == model_bytes(plain));
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    std::string checkpoint = std::string("checkpoints/step-12/") + file;
    EXPECT_TRUE(read_file(folder / "zero" / checkpoint) == read_file(folder / "plain" / checkpoint)) << file;
  }
}

// Shares of moments in few bits, and of their scales, make up the same files and come back from them.
TEST_F(RunOnRanks, ZeroHasTheSameCheckpointsWithMomentsInFewBits) {
  for (OptimizerState state : {OptimizerState::bfloat16, OptimizerState::bits8}) {
    std::string name(state_name(state));
    RunConfig plain = config_in(name), zero = config_in(name + "-zero");
    // Several shard units in the embedding, and a last block that is not full.
    plain.data.vocab_size = zero.data.vocab_size = 1153;
    plain.data.cache = zero.data.cache = (folder / "more-tokens").string();
    plain.optimizer.state = zero.optimizer.state = state;
    zero.zero = true;
    run_on(2, plain);
    run_on(2, zero, stopping_at(5, 1));
    run_on(2, zero);
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
      std::string checkpoint = std::string("checkpoints/step-12/") + file;
      EXPECT_TRUE(read_file(folder / (name + "-zero") / checkpoint) == read_file(folder / name / checkpoint)) << file;
    }
    RunConfig moved = config_in(name + "-moved");
    moved.data = plain.data;
    moved.optimizer.state = state;
    moved.zero = true;
    EXPECT_EQ(run_on(0, moved, stopping_at(4, 0)).steps, 4);
    EXPECT_EQ(run_on(2, moved, stopping_at(3, 1)).steps, 7);
    EXPECT_EQ(run_on(1, moved).steps, 12);
    expect_same_course(moved, plain);
  }
}

TEST_F(RunOnRanks, CheckpointsMoveBetweenNumbersOfRanks) {
  RunConfig alone = config_in("alone");
  run_on(0, alone);
  for (bool zero : {false, true}) {
    RunConfig config = config_in(zero ? "moved-zero" : "moved");
    config.zero = zero;
    EXPECT_EQ(run_on(0, config, stopping_at(4, 0)).steps, 4);
    EXPECT_EQ(run_on(2, config, stopping_at(3, 1)).steps, 7);
    EXPECT_EQ(run_on(4, config, stopping_at(2, 3)).steps, 9);
    TrainResult last = run_on(1, config);
    EXPECT_EQ(last.end, TrainResult::End::finished);
    EXPECT_EQ(last.steps, 12);
    expect_same_course(config, alone);
    // Finished for all of them.
    EXPECT_EQ(run_on(2, config).end, TrainResult::End::was_finished);
  }
}

TEST_F(RunOnRanks, StoppedAndResumedWithTheSameRanksHasTheSameBits) {
  RunConfig whole = config_in("whole"), config = config_in("stopped");
  whole.zero = config.zero = true;
  run_on(2, whole);
  run_on(2, config, stopping_at(5, 1));
  run_on(2, config);
  EXPECT_TRUE(model_bytes(config) == model_bytes(whole));
  EXPECT_EQ(log_lines(config), log_lines(whole));
}

TEST_F(RunOnRanks, RowsOfAMicroBatchAreShared) {
  RunConfig alone = config_in("alone");
  alone.micro_batch = 4;
  alone.grad_accum = 1;
  run_on(0, alone);
  RunConfig config = alone;
  config.output = (folder / "shared").string();
  run_on(4, config);
  expect_same_course(config, alone);
}

TEST_F(RunOnRanks, AStepThatOneRankFindsNotFiniteIsSkippedByAll) {
  RunConfig config = config_in("diverging");
  config.optimizer.lr = 1e30;
  config.optimizer.clip = 0;
  config.guard.max_rollbacks = 1;
  config.guard.skipped_steps = 2;
  config.schedule.warmup_steps = 1;
  EXPECT_THROW(run_on(2, config), Diverged);
  int64_t skipped = 0, rollbacks = 0;
  for (const Json& line : log_lines(config)) {
    skipped += line.contains("skipped");
    rollbacks += line.contains("rollback_to");
  }
  EXPECT_GE(skipped, 2);
  EXPECT_EQ(rollbacks, 1);
}

TEST_F(RunOnRanks, TheClockOfRankZeroEndsAll) {
  RunConfig config = config_in("clock");
  config.steps = 0;
  config.max_seconds = 1;
  TrainResult result = run_on(2, config);
  EXPECT_EQ(result.end, TrainResult::End::finished);
  EXPECT_GT(result.steps, 0);
}

TEST_F(RunOnRanks, RowsThatCannotBeSharedAreRefusedBeforeAFolderIsMade) {
  RunConfig config = config_in("odd");
  EXPECT_THROW(run_on(3, config), InputError);
  EXPECT_FALSE(fs::exists(folder / "odd"));
}

TEST_F(RunOnRanks, ADiskThatRefusesOnRankZeroEndsAll) {
  RunConfig config = config_in("refused");
  put_file(folder / "refused", "a file where the folder should be");
  EXPECT_THROW(run_on(2, config), InputError);
}

}  // namespace
}  // namespace tandem::test
