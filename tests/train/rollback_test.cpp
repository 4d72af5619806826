// Runs that get into trouble: skipped steps, divergence and the way back, which checkpoint is exported.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "train/checkpoint.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::log_lines;
using test::message_of;
using test::model_bytes;
using test::quiet_hooks;
using test::small_run;
using test::TemporaryFolder;

TrainResult run(const RunConfig& config, const TrainHooks& hooks) {
  Context ctx(static_cast<int>(config.threads));
  return train(ctx, config, hooks);
}

// A harm that validation does to the parameters behind step `at`, as long as the run has not gone back `times` times:
// whoever starts the run again finds it harmed in the same way.
struct Harm {
  int64_t at = 20;
  float factor = -30;  // on the weights of the output's norm
  int64_t times = 1;
};

TrainHooks harming(const Harm& harm) {
  TrainHooks hooks = quiet_hooks();
  auto seen = std::make_shared<TrainProgress>();
  hooks.progress = [seen](const TrainProgress& p) { *seen = p; };
  hooks.validate = [seen, harm](Model& model, Tape& tape, const HeldOut& rows) {
    HeldOutScore score = test::plain_score(model, tape, rows);
    if (seen->step != harm.at || seen->rollbacks >= harm.times) return score;
    Tensor weight = model.parameters().find("output_norm.weight")->master();
    for (int64_t i = 0; i < weight.elements(); ++i) weight.as<float>()[i] *= harm.factor;
    score.loss += 100;  // no candidate for the best
    return score;
  };
  return hooks;
}

class Rollback : public testing::Test {
 protected:
  RunConfig config_in(const std::string& name) const {
    RunConfig config = small_run(folder / name);
    config.steps = 36;
    config.eval_every = 4;
    config.checkpoint_every = 6;
    config.data.cache = (folder / "tokens").string();
    config.guard = {.window = 8, .skipped_steps = 3, .loss_margin = 1, .high_steps = 4};
    return config;
  }
  std::vector<Json> lines_with(const RunConfig& config, const char* key) const {
    std::vector<Json> out;
    for (const Json& line : log_lines(config)) {
      if (line.contains(key)) out.push_back(line);
    }
    return out;
  }
  TemporaryFolder folder;
};

TEST_F(Rollback, HighLossesSendTheRunBackToTheLastGoodCheckpoint) {
  RunConfig config = config_in("run");
  TrainResult result = run(config, harming({.at = 20}));
  EXPECT_EQ(result.end, TrainResult::End::finished);
  EXPECT_EQ(result.steps, 36);
  std::vector<Json> back = lines_with(config, "rollback_to");
  ASSERT_EQ(back.size(), 1);
  EXPECT_EQ(back[0]["step"], 24);  // harmed behind 20, high at 21..24
  EXPECT_EQ(back[0]["rollback_to"], 18);
  EXPECT_EQ(back[0]["learning_rate_scale"], 0.5);
  // The rate behind it is half of the schedule's; that of the last step shows it.
  RunConfig calm = config_in("calm");
  run(calm, quiet_hooks());
  EXPECT_DOUBLE_EQ(lines_with(config, "grad_norm").back()["learning_rate"].get<double>(),
                   0.5 * lines_with(calm, "grad_norm").back()["learning_rate"].get<double>());
  EXPECT_LT(result.heldout->loss, 6);
}

// Behind the last checkpoint the parameters have not been tried: one that holds the harm is no place to go back to.
TEST_F(Rollback, ACheckpointWithoutAGoodStepBehindItIsNotTrusted) {
  RunConfig config = config_in("run");
  run(config, harming({.at = 24}));  // step 24 writes a checkpoint with harmed parameters
  std::vector<Json> back = lines_with(config, "rollback_to");
  ASSERT_EQ(back.size(), 1);
  EXPECT_EQ(back[0]["step"], 28);
  EXPECT_LT(back[0]["rollback_to"], 24);
  EXPECT_GE(back[0]["rollback_to"], 18);
}

TEST_F(Rollback, StepsThatAreNotFiniteAreSkippedNamedAndLeadBack) {
  RunConfig config = config_in("run");
  TrainResult result = run(config, harming({.at = 20, .factor = INFINITY}));
  EXPECT_EQ(result.end, TrainResult::End::finished);
  std::vector<Json> skipped = lines_with(config, "skipped");
  ASSERT_EQ(skipped.size(), 3);
  EXPECT_EQ(skipped[0]["skipped"], "output_norm.weight is not finite");
  EXPECT_EQ(lines_with(config, "rollback_to").size(), 1);
}

TEST_F(Rollback, WithoutACheckpointTheRunBeginsAgain) {
  RunConfig config = config_in("run");
  config.checkpoint_every = 0;
  config.keep_best = false;
  TrainResult result = run(config, harming({.at = 20}));
  EXPECT_EQ(result.end, TrainResult::End::finished);
  EXPECT_EQ(lines_with(config, "rollback_to").at(0)["rollback_to"], 0);
}

TEST_F(Rollback, GivesUpAfterTheLastOne) {
  RunConfig config = config_in("run");
  config.guard.max_rollbacks = 2;
  std::string message = message_of<JobError>([&] { run(config, harming({.at = 20, .times = 100})); });
  EXPECT_NE(message.find("diverges at step 24"), std::string::npos) << message;
  EXPECT_NE(message.find("2 times"), std::string::npos) << message;
  EXPECT_EQ(lines_with(config, "rollback_to").size(), 2);
  EXPECT_EQ(lines_with(config, "rollback_to")[1]["learning_rate_scale"], 0.25);
  EXPECT_FALSE(fs::exists(fs::path(config.output) / "model"));
  CheckpointStore store(fs::path(config.output) / "checkpoints");
  EXPECT_EQ(store.newest(), 18);
  // Whoever looks after the run may allow more and go on.
  config.guard.max_rollbacks = 3;
  EXPECT_EQ(run(config, harming({.at = 20, .times = 3})).end, TrainResult::End::finished);
}

// Stopped before, in the middle of and behind the trouble: the same bits and the same log as never stopped.
TEST_F(Rollback, ResumesToTheSameBits) {
  for (float factor : {-30.0F, INFINITY}) {
    std::string kind = std::isinf(factor) ? "skipped-" : "high-";
    RunConfig whole = config_in(kind + "whole");
    run(whole, harming({.at = 20, .factor = factor}));
    for (int64_t calls : {19, 21, 24, 26, 29}) {
      RunConfig config = config_in(kind + std::to_string(calls));
      TrainHooks hooks = harming({.at = 20, .factor = factor});
      auto steps = std::make_shared<int64_t>(0);
      hooks.should_stop = [steps, calls] { return ++*steps > calls; };
      EXPECT_EQ(run(config, hooks).end, TrainResult::End::stopped);
      EXPECT_EQ(run(config, harming({.at = 20, .factor = factor})).end, TrainResult::End::finished);
      EXPECT_TRUE(model_bytes(config) == model_bytes(whole)) << kind << calls;
      EXPECT_EQ(log_lines(config), log_lines(whole)) << kind << calls;
    }
  }
}

// As after kill -9 behind a rollback: nothing of it was stored, the run diverges and goes back once more.
TEST_F(Rollback, ARollbackThatWasNotStoredHappensAgain) {
  RunConfig whole = config_in("whole"), config = config_in("killed");
  run(whole, harming({.at = 20}));
  TrainHooks hooks = harming({.at = 20});
  auto steps = std::make_shared<int64_t>(0);
  hooks.should_stop = [steps] { return ++*steps > 26; };
  run(config, hooks);  // stands at step 20 for the second time
  fs::path checkpoints = fs::path(config.output) / "checkpoints";
  fs::remove_all(checkpoints / "step-20");
  ASSERT_EQ(CheckpointStore(checkpoints).newest(), 18);
  run(config, harming({.at = 20}));
  EXPECT_TRUE(model_bytes(config) == model_bytes(whole));
  EXPECT_EQ(log_lines(config), log_lines(whole));
}

// Validations that name step 12 the best of all.
TrainHooks best_at(int64_t step) {
  TrainHooks hooks = quiet_hooks();
  auto seen = std::make_shared<int64_t>(0);
  hooks.progress = [seen](const TrainProgress& p) { *seen = p.step; };
  hooks.validate = [seen, step](Model&, Tape&, const HeldOut&) {
    return HeldOutScore{.loss = 1 + std::fabs(static_cast<double>(*seen - step)), .bits_per_byte = 1, .accuracy = 0};
  };
  return hooks;
}

TEST_F(Rollback, TheBestCheckpointStaysAndCanBeExported) {
  RunConfig last = config_in("last"), best = config_in("best");
  for (RunConfig* config : {&last, &best}) {
    config->checkpoint_every = 5;
    config->keep_checkpoints = 1;
    config->guard.max_rollbacks = 0;
  }
  best.exported = ExportedModel::best;
  run(last, best_at(12));
  run(best, best_at(12));
  fs::path checkpoints = fs::path(best.output) / "checkpoints";
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(checkpoints)) names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"step-12", "step-36"}));
  EXPECT_FALSE(model_bytes(best) == model_bytes(last));
  EXPECT_EQ(read_file(fs::path(best.output) / "model/model.safetensors"),
            read_file(checkpoints / "step-12/model.safetensors"));
  EXPECT_EQ(read_file(fs::path(last.output) / "model/model.safetensors"),
            read_file(fs::path(last.output) / "checkpoints/step-36/model.safetensors"));
}

TEST_F(Rollback, AMissingBestCheckpointIsNotReplacedByAnother) {
  RunConfig config = config_in("run");
  config.exported = ExportedModel::best;
  TrainHooks hooks = best_at(12);
  auto steps = std::make_shared<int64_t>(0);
  hooks.should_stop = [steps] { return ++*steps > 30; };
  run(config, hooks);
  fs::remove_all(fs::path(config.output) / "checkpoints/step-12");
  std::string message = message_of<JobError>([&] { run(config, best_at(12)); });
  EXPECT_NE(message.find("best validation"), std::string::npos) << message;
  config.exported = ExportedModel::last;
  EXPECT_EQ(run(config, best_at(12)).end, TrainResult::End::finished);
}

// A validation whose loss is not finite is written as null; the run goes on with it and from it.
TEST_F(Rollback, AHeldOutLossThatIsNotFiniteIsNoReasonToStop) {
  RunConfig config = config_in("run");
  config.steps = 6;
  config.checkpoint_every = 4;
  TrainHooks hooks = quiet_hooks();
  hooks.validate = [](Model&, Tape&, const HeldOut&) {
    return HeldOutScore{.loss = std::nan(""), .bits_per_byte = std::nan(""), .accuracy = 0};
  };
  TrainResult first = run(config, hooks);
  EXPECT_TRUE(std::isnan(first.heldout->loss));
  TrainResult again = run(config, hooks);
  EXPECT_EQ(again.end, TrainResult::End::was_finished);
  EXPECT_FALSE(again.heldout.has_value());
  config.steps = 7;
  EXPECT_EQ(run(config, hooks).end, TrainResult::End::finished);
}

}  // namespace
}  // namespace tandem
