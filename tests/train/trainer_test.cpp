#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::log_lines;
using test::message_of;
using test::model_bytes;
using test::put_file;
using test::quiet_hooks;
using test::small_run;
using test::TemporaryFolder;

TrainResult run(const RunConfig& config, const TrainHooks& hooks = quiet_hooks()) {
  Context ctx(static_cast<int>(config.threads));
  return train(ctx, config, hooks);
}

// Stops after `step`.
TrainHooks stopping_at(int64_t step) {
  TrainHooks hooks = quiet_hooks();
  auto seen = std::make_shared<int64_t>(0);
  hooks.progress = [seen](const TrainProgress& p) { *seen = p.step; };
  hooks.should_stop = [seen, step] { return *seen >= step; };
  return hooks;
}

class TrainerOf : public testing::TestWithParam<PrecisionChoice> {
 protected:
  RunConfig config_in(const std::string& name) const {
    RunConfig config = small_run(folder / name);
    config.precision = GetParam();
    config.data.cache = (folder / "tokens").string();
    return config;
  }
  TemporaryFolder folder;
};

TEST_P(TrainerOf, StoppedAnywhereAndResumedHasTheSameBitsAndLog) {
  RunConfig whole = config_in("whole");
  TrainResult result = run(whole);
  EXPECT_EQ(result.end, TrainResult::End::finished);
  EXPECT_EQ(result.steps, 12);
  EXPECT_EQ(result.tokens, 12 * 4 * 64);
  std::string expected = model_bytes(whole);
  for (int64_t stop : {1, 4, 5, 7, 11}) {
    RunConfig config = config_in("stopped-" + std::to_string(stop));
    TrainResult first = run(config, stopping_at(stop));
    EXPECT_EQ(first.end, TrainResult::End::stopped);
    EXPECT_EQ(first.steps, stop);
    EXPECT_FALSE(fs::exists(first.model));
    config.threads = 1;
    TrainResult second = run(config);
    EXPECT_EQ(second.end, TrainResult::End::finished);
    EXPECT_TRUE(model_bytes(config) == expected) << "stopped at " << stop;
    EXPECT_EQ(log_lines(config), log_lines(whole)) << "stopped at " << stop;
    EXPECT_EQ(second.heldout->loss, result.heldout->loss);
  }
}

TEST_P(TrainerOf, ALostTailOfTheRunIsTrainedAgain) {
  RunConfig whole = config_in("whole"), config = config_in("lost");
  run(whole);
  run(config, stopping_at(11));
  // As after a crash at step 11 with the checkpoint of step 10 as the newest.
  fs::remove_all(fs::path(config.output) / "checkpoints/step-11");
  run(config);
  EXPECT_TRUE(model_bytes(config) == model_bytes(whole));
  EXPECT_EQ(log_lines(config), log_lines(whole));
}

INSTANTIATE_TEST_SUITE_P(Precisions, TrainerOf, testing::Values(PrecisionChoice::float32, PrecisionChoice::bfloat16),
                         [](const auto& p) {
                           return p.param == PrecisionChoice::float32 ? std::string("float32") : std::string("bf16");
                         });

class TrainerWithState : public testing::TestWithParam<OptimizerState> {};

TEST_P(TrainerWithState, StoppedAndResumedHasTheSameBits) {
  TemporaryFolder folder;
  auto config_in = [&](const std::string& name) {
    RunConfig config = small_run(folder / name);
    config.optimizer.state = GetParam();
    config.data.cache = (folder / "tokens").string();
    return config;
  };
  RunConfig whole = config_in("whole"), config = config_in("stopped");
  run(whole);
  run(config, stopping_at(7));
  config.threads = 1;
  run(config);
  EXPECT_TRUE(model_bytes(config) == model_bytes(whole));
  std::string moments = "checkpoints/step-12/optimizer.safetensors";
  EXPECT_TRUE(read_file(folder / "stopped" / moments) == read_file(folder / "whole" / moments));
  EXPECT_EQ(log_lines(config), log_lines(whole));
  config.optimizer.state = OptimizerState::float32;
  config.steps = 20;
  std::string message = message_of<InputError>([&] { run(config); });
  EXPECT_NE(message.find("optimizer.state"), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(States, TrainerWithState, testing::Values(OptimizerState::bfloat16, OptimizerState::bits8),
                         [](const auto& p) { return std::string(state_name(p.param)); });

class TrainerRuns : public testing::Test {
 protected:
  RunConfig config_in(const std::string& name) const {
    RunConfig config = small_run(folder / name);
    config.steps = 4;
    config.data.cache = (folder / "tokens").string();
    return config;
  }
  TemporaryFolder folder;
};

TEST_F(TrainerRuns, LogHasItsLines) {
  RunConfig config = config_in("run");
  config.log_every = 3;
  config.eval_every = 2;
  run(config);
  std::vector<int64_t> training, validation;
  for (const Json& line : log_lines(config)) {
    (line.contains("heldout_loss") ? validation : training).push_back(line["step"].get<int64_t>());
    if (!line.contains("heldout_loss")) {
      EXPECT_GT(line["loss"].get<double>(), 1);
      EXPECT_GT(line["grad_norm"].get<double>(), 0);
    }
    EXPECT_EQ(line["tokens"], line["step"].get<int64_t>() * 256);
  }
  EXPECT_EQ(training, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(validation, (std::vector<int64_t>{2, 4}));
}

TEST_F(TrainerRuns, TwoRunsHaveTheSameBitsAndAnotherSeedHasOthers) {
  RunConfig a = config_in("a"), b = config_in("b"), c = config_in("c");
  b.threads = 3;
  c.seed = 2;
  for (const RunConfig& config : {a, b, c}) run(config);
  EXPECT_TRUE(model_bytes(a) == model_bytes(b));
  EXPECT_FALSE(model_bytes(a) == model_bytes(c));
}

TEST_F(TrainerRuns, StartedAgainItIsFinished) {
  RunConfig config = config_in("run");
  TrainResult first = run(config);
  auto written = fs::last_write_time(first.model / "model.safetensors");
  for (int64_t steps : {4, 2}) {
    config.steps = steps;
    TrainResult again = run(config);
    EXPECT_EQ(again.end, TrainResult::End::was_finished);
    EXPECT_EQ(to_json(again), to_json(first));
  }
  EXPECT_EQ(fs::last_write_time(first.model / "model.safetensors"), written);
}

TEST_F(TrainerRuns, ModelLostBehindTheLastCheckpointIsWrittenAgain) {
  RunConfig config = config_in("run");
  TrainResult first = run(config);
  std::string bytes = model_bytes(config);
  size_t lines = log_lines(config).size();
  fs::remove_all(first.model);
  fs::remove(fs::path(config.output) / "finished.json");
  TrainResult again = run(config);
  EXPECT_EQ(again.end, TrainResult::End::finished);
  EXPECT_TRUE(model_bytes(config) == bytes);
  EXPECT_EQ(again.heldout->loss, first.heldout->loss);
  EXPECT_EQ(again.loss, first.loss);
  EXPECT_EQ(log_lines(config).size(), lines);
}

TEST_F(TrainerRuns, SaysWhatRanBesideItsSteps) {
  RunConfig config = config_in("run");
  config.steps = 7;
  config.checkpoint_every = 2;
  config.eval_every = 0;
  TrainResult result = run(config);
  ASSERT_TRUE(result.overlap);
  const OverlapResult& o = *result.overlap;
  EXPECT_EQ(o.steps, 7);
  EXPECT_EQ(o.checkpoints, 3);  // 2, 4 and 6; the last one has no step beside it
  EXPECT_GT(o.data_seconds, 0);
  EXPECT_GT(o.checkpoint_seconds, 0);
  EXPECT_GT(o.checkpoint_wait_seconds, 0);
  EXPECT_LE(o.data_wait_seconds + o.checkpoint_wait_seconds, o.step_seconds);
  EXPECT_LE(o.step_seconds, result.seconds);
}

TEST_F(TrainerRuns, MoreStepsGoOn) {
  RunConfig config = config_in("run");
  run(config);
  config.steps = 6;
  TrainResult result = run(config);
  EXPECT_EQ(result.end, TrainResult::End::finished);
  EXPECT_EQ(result.steps, 6);
  EXPECT_TRUE(fs::exists(fs::path(config.output) / "checkpoints/step-6/DONE"));
}

TEST_F(TrainerRuns, RefusesFoldersOfOthers) {
  RunConfig config = config_in("run");
  run(config);
  std::string before = read_file(fs::path(config.output) / "config.toml");
  config.optimizer.lr = 0.5;
  std::string message = message_of<InputError>([&] { run(config); });
  EXPECT_NE(message.find("optimizer.lr"), std::string::npos) << message;
  EXPECT_EQ(read_file(fs::path(config.output) / "config.toml"), before);

  fs::create_directory(folder / "foreign");
  put_file(folder / "foreign/notes.txt", "mine");
  message = message_of<InputError>([&] { run(config_in("foreign")); });
  EXPECT_NE(message.find("not empty"), std::string::npos) << message;
  put_file(folder / "file", "mine");
  EXPECT_THROW(run(config_in("file")), InputError);
}

TEST_F(TrainerRuns, ARunThatCannotBeginLeavesNothing) {
  RunConfig config = config_in("run");
  config.data.sources = {(folder / "missing.txt").string()};
  EXPECT_THROW(run(config), InputError);
  EXPECT_FALSE(fs::exists(config.output));
  config = config_in("run");
  config.model.vocab_size = 20;  // smaller than any tokenizer
  EXPECT_THROW(run(config), InputError);
  EXPECT_FALSE(fs::exists(config.output));
}

TEST_F(TrainerRuns, OneProcessAtATime) {
  RunConfig config = config_in("run");
  RunFolder held(config);
  EXPECT_THROW(run(config), JobError);
}

TEST_F(TrainerRuns, EndsByTheClockWithTheRateAtItsFloor) {
  RunConfig config = config_in("run");
  config.steps = 0;
  config.max_seconds = 1;
  TrainHooks hooks = quiet_hooks();
  double last_rate = 0, highest = 0;
  hooks.progress = [&](const TrainProgress& p) {
    last_rate = p.learning_rate;
    highest = std::max(highest, p.learning_rate);
  };
  TrainResult result = run(config, hooks);
  EXPECT_EQ(result.end, TrainResult::End::finished);
  EXPECT_GT(result.steps, 3);
  EXPECT_GT(result.seconds, 0.5);
  EXPECT_GT(highest, 0.6 * config.optimizer.lr);
  EXPECT_LT(last_rate, 0.5 * highest);
  EXPECT_TRUE(fs::exists(result.model / "model.safetensors"));
  EXPECT_EQ(run(config).end, TrainResult::End::was_finished);
}

TEST_F(TrainerRuns, TrainsOnText) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += "The cat " + std::to_string(i) + " sat on the mat and saw the dog.\n";
  put_file(folder / "text.txt", text);
  RunConfig config = config_in("run");
  config.data.sources = {(folder / "text.txt").string()};
  config.model.arch = Arch::decoder;
  TrainResult result = run(config);
  EXPECT_GT(result.heldout->loss, 0);
  EXPECT_TRUE(fs::exists(result.model / "tokenizer.json"));
}

}  // namespace
}  // namespace tandem
