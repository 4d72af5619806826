#include "train/run_recorder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/temporary_folder.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::put_file;
using test::TemporaryFolder;

class Recorder : public testing::Test {
 protected:
  fs::path log() const { return folder / "log.jsonl"; }
  std::string text() const { return read_file(log()); }
  // All event files one after the other, in the order of their names.
  std::string events() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder / "events")) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::string all;
    for (const fs::path& file : files) all += read_file(file);
    return all;
  }
  TemporaryFolder folder;
};

TEST_F(Recorder, GoesOnWhereTheCheckpointStood) {
  // Steps after a rollback are smaller than those before it: only the length tells what belongs to the checkpoint.
  std::string before = "{\"step\":1}\n{\"step\":9}\n{\"step\":9,\"rollback_to\":1}\n{\"step\":2}\n";
  put_file(log(), before + "{\"step\":3}\n{\"st");
  RunRecorder recorder(log(), {}, {.step = 2, .log_bytes = static_cast<int64_t>(before.size())});
  EXPECT_EQ(text(), before);
  recorder.write({{"step", 3}});
  EXPECT_EQ(text(), before + "{\"step\":3}\n");
  EXPECT_EQ(recorder.log_bytes(), static_cast<int64_t>(text().size()));
}

TEST_F(Recorder, AFreshRunDropsWhatACrashLeft) {
  put_file(log(), "{\"step\":1}\n");
  RunRecorder recorder(log(), {}, {});
  EXPECT_EQ(text(), "");
}

TEST_F(Recorder, OfAChangedLogKeepsWhatBelongsBeforeTheStep) {
  put_file(log(), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st");
  { RunRecorder recorder(log(), {}, {.step = 2, .log_bytes = 1000}); }  // shortened
  EXPECT_EQ(text(), "{\"step\":1}\n{\"step\":2}\n");
  { RunRecorder recorder(log(), {}, {.step = 2, .log_bytes = 5}); }  // not the end of a line
  EXPECT_EQ(text(), "{\"step\":1}\n{\"step\":2}\n");
}

TEST_F(Recorder, NumbersBecomeScalarsAndTextsTexts) {
  RunRecorder recorder(log(), folder / "events", {});
  recorder.write({{"step", 4}, {"tokens", 100}, {"loss", 2.5}, {"seconds", 7.5}});
  recorder.write({{"step", 5}, {"skipped", "loss is not finite"}, {"story_cloze", 0.5}, {"choice", {{"a", 1}}}});
  std::string all = events();
  for (const char* tag : {"train/loss", "guard/skipped", "loss is not finite", "story_cloze"}) {
    EXPECT_NE(all.find(tag), std::string::npos) << tag;
  }
  for (const char* tag : {"tokens", "seconds", "choice"}) EXPECT_EQ(all.find(tag), std::string::npos) << tag;
}

TEST_F(Recorder, EveryStartAndEveryWayBackIsMarked) {
  { RunRecorder recorder(log(), folder / "events", {}); }
  size_t one_start = events().size();
  {
    RunRecorder recorder(log(), folder / "events", {.step = 1});
    recorder.write_rollback({{"step", 9}, {"rollback_to", 1}, {"reason", "high"}}, 1);
  }
  std::string all = events();
  EXPECT_GT(all.size(), 2 * one_start);
  EXPECT_NE(all.find("guard/rollback_to"), std::string::npos);
  EXPECT_EQ(text(), "{\"step\":9,\"rollback_to\":1,\"reason\":\"high\"}\n");
}

TEST_F(Recorder, TextThatIsNotUtf8DoesNotEndTheRun) {
  RunRecorder recorder(log(), {}, {});
  recorder.write({{"step", 1}, {"sample", "a\xff"}});
  EXPECT_EQ(text(), "{\"step\":1,\"sample\":\"a\xef\xbf\xbd\"}\n");
}

TEST_F(Recorder, WhatCannotBeWrittenIsAJobError) {
  EXPECT_THROW(RunRecorder(folder / "no-such-folder/log.jsonl", {}, {}), JobError);
}

}  // namespace
}  // namespace tandem
