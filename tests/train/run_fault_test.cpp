// Whole runs that end at some call that changes the disk, from the first folder to the last file.
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "train/fault_injection.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::Fault;
using test::FaultInjection;
using test::model_bytes;
using test::TemporaryFolder;

class RunFaults : public testing::Test {
 protected:
  RunConfig config_in(const std::string& name) const {
    RunConfig config = test::small_run(folder / name);
    config.steps = 6;
    config.checkpoint_every = 2;
    config.keep_checkpoints = 1;
    return config;
  }
  static void run(const RunConfig& config) {
    Context ctx(2);
    train(ctx, config, test::quiet_hooks());
  }
  static std::string timeless_log(const RunConfig& config) {
    std::string out;
    std::ifstream in(fs::path(config.output) / "log.jsonl");
    for (std::string line; std::getline(in, line);) {
      Json json = Json::parse(line);
      json.erase("seconds");
      json.erase("tokens_per_second");
      out += json.dump() + "\n";
    }
    return out;
  }

  void SetUp() override {
    calls = test::count_calls([&] { run(config_in("whole")); });
    ASSERT_GT(calls, 200);
  }

  void expect_same_as_whole(const RunConfig& config, const std::string& what) {
    run(config);
    EXPECT_TRUE(model_bytes(config) == model_bytes(config_in("whole"))) << what;
    EXPECT_EQ(timeless_log(config), timeless_log(config_in("whole"))) << what;
    for (const auto& entry : fs::recursive_directory_iterator(config.output)) {
      EXPECT_EQ(entry.path().string().find(".part-"), std::string::npos) << what << ": " << entry.path();
    }
    fs::remove_all(config.output);
  }

  // Evenly over the run, another place for every fault.
  std::vector<int64_t> places(int64_t count, int64_t shift) const {
    std::vector<int64_t> out;
    for (int64_t i = 0; i < count; ++i) out.push_back((i * calls + shift * 7) / count % calls);
    return out;
  }

  TemporaryFolder folder;
  int64_t calls = 0;
};

TEST_F(RunFaults, DyingAnywhereResumesToTheSameBits) {
  for (Fault fault : {Fault::die_inside, Fault::power_loss}) {
    for (int64_t at : places(10, static_cast<int64_t>(fault))) {
      std::string what = "fault " + std::to_string(static_cast<int>(fault)) + " at call " + std::to_string(at);
      RunConfig config = config_in("run");
      ASSERT_TRUE(test::dies_in_child(fault, at, [&] { run(config); })) << what;
      expect_same_as_whole(config, what);
    }
  }
}

TEST_F(RunFaults, AFullDiskAnywhereIsSaidAndResumesToTheSameBits) {
  for (int64_t at : places(10, 0)) {
    RunConfig config = config_in("run");
    {
      FaultInjection injection(Fault::disk_full, at);
      try {
        run(config);
        ADD_FAILURE() << "nothing was said of call " << at;
      } catch (const JobError& error) {
        EXPECT_NE(std::string(error.what()).find("No space left"), std::string::npos) << error.what();
      }
    }
    expect_same_as_whole(config, "disk full at call " + std::to_string(at));
  }
}

}  // namespace
}  // namespace tandem
