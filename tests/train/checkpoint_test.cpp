#include "train/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <set>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::Bench;
using test::put_file;
using test::TemporaryFolder;

RunState state_of(int64_t step) {
  RunState state;
  state.step = step;
  state.tokens = 100 * step;
  state.skipped = 2;
  state.seconds = 0.1 + 0.2;
  state.window_loss = 1.0 / 3;
  state.window_labelled = 7;
  state.cursor = {{"epoch", 1}};
  state.tokenizer = "abc";
  state.log_bytes = 1234567890123;
  state.anchor = step - 1;
  state.guard = {.losses = {1.0 / 3, 2.5},
                 .norms = {0.1, 1e-30},
                 .skipped_in_row = 1,
                 .high_in_row = 2,
                 .troubled_in_row = 3,
                 .rollbacks = 3,
                 .rate_scale = 0.125};
  state.best = {.step = 1, .loss = 2.0 / 3};
  state.surroundings = {.isa = "avx2", .precision = "float32", .processor = "P", .matrix_library = "L 1"};
  return state;
}

void some_steps(Bench& bench, int n) {
  for (int i = 0; i < n; ++i) {
    bench.step.accumulate(test::random_batch(bench.model->config(), 2, static_cast<uint64_t>(i)));
    bench.step.finish(1);
  }
}

class Checkpoint : public testing::Test {
 protected:
  // Checkpoints of steps 1 and 2.
  void SetUp() override {
    for (int64_t step : {1, 2}) {
      some_steps(bench, 1);
      RunState state = state_of(step);
      state.updates = bench.optimizer.updates();
      store.save(state, bench.optimizer, {.newest = 5});
    }
    ASSERT_EQ(store.newest(), 2);
  }

  TemporaryFolder folder;
  CheckpointStore store{folder / "checkpoints"};
  Bench bench{test::small_model()};
};

TEST_F(Checkpoint, GivesBackEverythingExactly) {
  Bench other(test::small_model());
  RunState state = store.load(2, other.optimizer);
  EXPECT_EQ(state.step, 2);
  EXPECT_EQ(state.tokens, 200);
  EXPECT_EQ(state.skipped, 2);
  EXPECT_EQ(state.seconds, 0.1 + 0.2);
  EXPECT_EQ(state.window_loss, 1.0 / 3);
  EXPECT_EQ(state.window_labelled, 7);
  EXPECT_EQ(state.cursor["epoch"], 1);
  EXPECT_EQ(state.tokenizer, "abc");
  RunState saved = state_of(2);
  EXPECT_EQ(state.log_bytes, saved.log_bytes);
  EXPECT_EQ(state.anchor, 1);
  EXPECT_EQ(state.guard, saved.guard);
  EXPECT_EQ(state.best.step, 1);
  EXPECT_EQ(state.best.loss, 2.0 / 3);
  EXPECT_EQ(state.surroundings, saved.surroundings);
  EXPECT_EQ(other.optimizer.updates(), 2);
  EXPECT_TRUE(test::same_parameters(bench.model->parameters(), other.model->parameters()));
  some_steps(bench, 3);
  some_steps(other, 3);
  EXPECT_TRUE(test::same_parameters(bench.model->parameters(), other.model->parameters()));
}

TEST_F(Checkpoint, TornFilesFallBackToTheOneBefore) {
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json", "DONE"}) {
    fs::path file = store.path(2) / name;
    std::string bytes = read_file(file);
    fs::remove(file);
    EXPECT_EQ(store.newest(), 1) << name << " is missing";
    for (size_t keep : {size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
      put_file(file, bytes.substr(0, keep));
      EXPECT_EQ(store.newest(), 1) << name << " cut to " << keep;
    }
    std::string changed = bytes;
    changed[bytes.size() / 2] ^= 1;
    put_file(file, changed);
    EXPECT_EQ(store.newest(), 1) << name << " with a bit turned";
    put_file(file, bytes);
    EXPECT_EQ(store.newest(), 2) << name << " restored";
  }
}

// What a crash leaves at each stage of save(): a folder aside with some of the files; the renamed folder without DONE.
TEST_F(Checkpoint, EveryStageOfACrashIsIgnoredAndLaterRemoved) {
  fs::path aside = folder / "checkpoints/writing-step-3";
  fs::create_directory(aside);
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json"}) {
    put_file(aside / name, read_file(store.path(2) / name));
    EXPECT_EQ(store.newest(), 2) << name;
  }
  fs::rename(aside, store.path(3));
  EXPECT_EQ(store.newest(), 2);
  fs::create_directory(aside);
  put_file(aside / "model.safetensors.part-1", "x");

  some_steps(bench, 1);
  RunState state = state_of(3);
  store.save(state, bench.optimizer, {.newest = 2});
  EXPECT_EQ(store.newest(), 3);
  EXPECT_TRUE(fs::exists(store.path(2)));
  EXPECT_FALSE(fs::exists(store.path(1)));
  EXPECT_FALSE(fs::exists(aside));
}

TEST_F(Checkpoint, TheBestAndTheAnchorsStay) {
  CheckpointStore runs(folder / "runs");
  auto save = [&](int64_t step, bool anchor) {
    RunState state;
    state.step = step;
    state.anchor = anchor ? step : 7;
    runs.save(state, bench.optimizer, {.newest = 2, .best = 10, .anchors = 2});
  };
  for (int64_t step : {10, 20, 30, 40}) save(step, true);
  for (int64_t step : {50, 60, 70}) save(step, false);
  std::set<int64_t> found;
  for (int64_t step = 10; step <= 70; step += 10) {
    if (runs.whole(step)) found.insert(step);
  }
  EXPECT_EQ(found, (std::set<int64_t>{10, 30, 40, 60, 70}));
  EXPECT_EQ(runs.newest(), 70);
  EXPECT_EQ(runs.newest_anchor(70), 40);
  EXPECT_EQ(runs.newest_anchor(39), 30);
  EXPECT_EQ(runs.newest_anchor(9), std::nullopt);
  runs.remove_after(30);
  EXPECT_EQ(runs.newest(), 30);
  EXPECT_TRUE(runs.whole(10));
}

TEST_F(Checkpoint, NothingButDamagedOnesIsNoFreshStart) {
  for (int64_t step : {1, 2}) put_file(store.path(step) / "model.safetensors", "x");
  std::string message = test::message_of<InputError>([&] { store.newest(); });
  EXPECT_NE(message.find("model.safetensors is damaged"), std::string::npos) << message;
  for (int64_t step : {1, 2}) fs::remove(store.path(step) / "DONE");
  EXPECT_EQ(store.newest(), std::nullopt) << "unfinished ones are what a crash leaves";
}

TEST_F(Checkpoint, OldOnesGo) {
  for (int64_t step : {3, 4}) store.save(state_of(step), bench.optimizer, {.newest = 2});
  EXPECT_FALSE(fs::exists(store.path(1)));
  EXPECT_FALSE(fs::exists(store.path(2)));
  EXPECT_TRUE(fs::exists(store.path(3)));
  EXPECT_EQ(store.newest(), 4);
}

// Files may grow to this many bytes: a write beyond it fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_DFL);
  }

 private:
  rlimit before_{};
};

TEST_F(Checkpoint, AFullDiskLeavesTheOldOnes) {
  auto weights = static_cast<rlim_t>(fs::file_size(store.path(2) / "model.safetensors"));
  // In the weights, early and late, and in the moments, which are twice as large.
  for (rlim_t room : {rlim_t{100}, weights / 2, weights + weights / 2}) {
    FileSizeLimit limit(room);
    EXPECT_THROW(store.save(state_of(3), bench.optimizer, {.newest = 1}), JobError) << room;
  }
  EXPECT_EQ(store.newest(), 2);
  EXPECT_TRUE(fs::exists(store.path(1)));
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder / "checkpoints")) ++entries;
  EXPECT_EQ(entries, 2);
  store.save(state_of(3), bench.optimizer, {.newest = 1});
  EXPECT_EQ(store.newest(), 3);
}

TEST_F(Checkpoint, OfAnotherModelIsAnInputError) {
  ModelConfig wider = test::small_model();
  wider.mlp_dim = 64;
  Bench other(wider);
  EXPECT_THROW(store.load(2, other.optimizer), InputError);
}

TEST_F(Checkpoint, OfAnotherOptimizerStateIsRefused) {
  for (OptimizerState state : {OptimizerState::bfloat16, OptimizerState::bits8}) {
    Bench other(test::small_model(), {.state = state});
    std::string message = test::message_of<InputError>([&] { store.load(2, other.optimizer); });
    EXPECT_NE(message.find("optimizer.state=float32"), std::string::npos) << message;
    CheckpointStore theirs(folder / std::string(state_name(state)));
    some_steps(other, 2);
    RunState saved = state_of(2);
    saved.updates = 2;
    theirs.save(saved, other.optimizer, {});
    EXPECT_THROW(theirs.load(2, bench.optimizer), InputError);
    Bench same(test::small_model(), {.state = state});
    theirs.load(2, same.optimizer);
    some_steps(other, 2);
    some_steps(same, 2);
    EXPECT_TRUE(test::same_parameters(other.model->parameters(), same.model->parameters()));
  }
}

TEST_F(Checkpoint, ForeignNamesAreNoCheckpoints) {
  fs::create_directory(folder / "checkpoints/step-");
  fs::create_directory(folder / "checkpoints/step-9x");
  put_file(folder / "checkpoints/step-77", "a file");
  EXPECT_EQ(store.newest(), 2);
}

}  // namespace
}  // namespace tandem
