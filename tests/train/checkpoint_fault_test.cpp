// A checkpoint whose writing ends at any call: by kill -9, by a failing disk, a full one, a loss of power.
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "train/checkpoint.h"
#include "train/fault_injection.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::Bench;
using test::Fault;
using test::FaultInjection;
using test::TemporaryFolder;

// Small: every call that writes a part of a file is one case.
ModelConfig few_tensors() {
  ModelConfig model = test::small_model(Arch::decoder);
  model.n_encoder_layers = 1;
  model.n_decoder_layers = 1;
  model.dim = 16;
  model.n_heads = 1;
  return model;
}

std::vector<std::vector<float>> numbers_of(const Optimizer& optimizer) {
  std::vector<std::vector<float>> out;
  for (const Parameter& p : optimizer.parameters().all()) out.push_back(test::values(p.master()));
  for (const Moments& m : optimizer.moments()) {
    out.push_back(test::values(m.first.tensor()));
    out.push_back(test::values(m.second.tensor()));
  }
  return out;
}

class CheckpointFaults : public testing::Test {
 protected:
  // Steps 1 and 2 are stored; the model stands at step 3.
  void SetUp() override {
    for (int64_t step : {1, 2, 3}) {
      bench.step.accumulate(test::random_batch(bench.model->config(), 1, static_cast<uint64_t>(step)));
      bench.step.finish(1);
      numbers[step] = numbers_of(bench.optimizer);
      if (step < 3) store.save(state_of(step), bench.optimizer, kept);
    }
    calls = test::count_calls([&] { save(); });
    forget_step_3();
  }

  static RunState state_of(int64_t step) {
    RunState state;
    state.step = state.updates = step;
    state.cursor = {{"epoch", step}};
    return state;
  }

  void save() const { store.save(state_of(3), bench.optimizer, kept); }

  void forget_step_3() {
    fs::remove_all(store.path(3));
    ASSERT_EQ(store.newest(), 2);
    ASSERT_TRUE(store.whole(1));
  }

  void expect_exact(int64_t step) {
    RunState state = store.load(step, other.optimizer);
    EXPECT_EQ(state.step, step);
    EXPECT_EQ(state.cursor["epoch"], step);
    EXPECT_TRUE(numbers_of(other.optimizer) == numbers[step]) << step;
  }

  std::set<std::string> entries() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder / "checkpoints")) names.insert(entry.path().filename());
    return names;
  }

  // After whatever has happened: the newest checkpoint is exact, and going on works and clears up.
  void expect_to_go_on(const std::string& what) {
    std::optional<int64_t> newest = store.newest();
    ASSERT_TRUE(newest == 2 || newest == 3) << what;
    expect_exact(*newest);
    save();
    ASSERT_EQ(store.newest(), 3) << what;
    expect_exact(3);
    EXPECT_EQ(entries(), (std::set<std::string>{"step-1", "step-2", "step-3"})) << what;
    forget_step_3();
  }

  const Retention kept{.newest = 3};
  TemporaryFolder folder;
  CheckpointStore store{folder / "checkpoints"};
  Bench bench{few_tensors(), {}, 1};
  Bench other{few_tensors(), {}, 1};
  std::map<int64_t, std::vector<std::vector<float>>> numbers;
  int64_t calls = 0;
};

TEST_F(CheckpointFaults, DyingAtAnyCallLeavesAnExactCheckpoint) {
  ASSERT_GT(calls, 40);
  for (Fault fault : {Fault::die, Fault::die_inside, Fault::power_loss}) {
    for (int64_t at = 0; at < calls; ++at) {
      std::string what = "fault " + std::to_string(static_cast<int>(fault)) + " at call " + std::to_string(at);
      ASSERT_TRUE(test::dies_in_child(fault, at, [&] { save(); })) << what;
      expect_to_go_on(what);
      if (HasFatalFailure() || HasNonfatalFailure()) return;
    }
  }
}

// One step earlier the new checkpoint must not be there: a test that could not fail would pass here.
TEST_F(CheckpointFaults, TheLastCallsAreThoseThatMakeItWhole) {
  test::dies_in_child(Fault::die, 0, [&] { save(); });
  EXPECT_EQ(store.newest(), 2);
  EXPECT_FALSE(test::dies_in_child(Fault::die, calls, [&] { save(); }));
  EXPECT_EQ(store.newest(), 3);
}

TEST_F(CheckpointFaults, AFullDiskAtAnyCallLeavesTheOldOnesAndNoRest) {
  for (int64_t at = 0; at < calls; ++at) {
    bool refused = false;
    {
      FaultInjection injection(Fault::disk_full, at);
      try {
        save();
      } catch (const JobError& error) {
        refused = true;
        EXPECT_NE(std::string(error.what()).find("No space left"), std::string::npos) << error.what();
      }
    }
    if (refused) {
      EXPECT_EQ(entries(), (std::set<std::string>{"step-1", "step-2"})) << at;
    } else {
      EXPECT_EQ(store.newest(), 3) << at;  // nothing had to grow any more
    }
    expect_to_go_on("disk full at call " + std::to_string(at));
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
}

TEST_F(CheckpointFaults, AnyFailingCallIsAJobErrorOrHarmless) {
  int64_t refusals = 0;
  for (int64_t at = 0; at < calls; ++at) {
    {
      FaultInjection injection(Fault::fail, at);
      try {
        save();
      } catch (const JobError& error) {
        ++refusals;
        EXPECT_NE(std::string(error.what()).find("Input/output error"), std::string::npos) << error.what();
      }
    }
    EXPECT_TRUE(store.whole(1) && store.whole(2)) << at;
    expect_to_go_on("failure of call " + std::to_string(at));
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  EXPECT_GT(refusals, calls / 2);
}

// Removing old checkpoints may end anywhere too.
TEST_F(CheckpointFaults, DyingWhileOldOnesAreRemovedKeepsTheNewest) {
  auto save_and_remove = [&] { store.save(state_of(3), bench.optimizer, {.newest = 1}); };
  for (int64_t at = calls - 1;; ++at) {
    bool died = test::dies_in_child(Fault::die, at, save_and_remove);
    ASSERT_EQ(store.newest(), 3) << at;
    expect_exact(3);
    if (!died) break;
    save_and_remove();
    EXPECT_EQ(entries(), std::set<std::string>{"step-3"}) << at;
    for (int64_t step : {1, 2}) {  // once more
      fs::remove_all(store.path(3));
      store.save(state_of(step), bench.optimizer, kept);
    }
  }
}

TEST_F(CheckpointFaults, DyingWhileARollbackRemovesLaterOnesLeavesOneCourse) {
  auto remove = [&] { store.remove_after(1); };
  save();
  int64_t removal = test::count_calls(remove);
  for (int64_t at = 0; at <= removal; ++at) {
    store.save(state_of(2), bench.optimizer, kept);
    save();
    bool died = test::dies_in_child(Fault::die, at, remove);
    EXPECT_EQ(died, at < removal);
    // The later one goes first: never 3 without 2.
    EXPECT_TRUE(!store.whole(3) || store.whole(2)) << at;
    remove();
    EXPECT_EQ(store.newest(), 1);
  }
}

}  // namespace
}  // namespace tandem
