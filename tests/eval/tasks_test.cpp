#include "eval/tasks.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "eval/choice_formats.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

TEST(Tasks, AreFoundByName) {
  TemporaryFolder folder;
  for (const char* name : {"lambada_test.jsonl", "piqa.jsonl", "piqa_valid.txt", "copa_dev.jsonl", "copa_test.jsonl"}) {
    put_file(folder / name, "{}");
  }
  fs::path dir = folder / ".";
  std::vector<Task> tasks = find_tasks({"piqa", "needle", "lambada", "mqar", "copy", "own/questions.jsonl"}, dir);
  ASSERT_EQ(tasks.size(), 6u);
  EXPECT_EQ(tasks[0].file.filename(), "piqa.jsonl");
  EXPECT_EQ(tasks[1].kind, TaskKind::needle);
  EXPECT_EQ(tasks[2].name, "lambada");
  EXPECT_EQ(tasks[2].file.filename(), "lambada_test.jsonl");
  EXPECT_EQ(tasks[3].kind, TaskKind::pairs);
  EXPECT_EQ(tasks[4].kind, TaskKind::copy);
  EXPECT_EQ(tasks[5].name, "questions");
  EXPECT_EQ(tasks[5].file, "own/questions.jsonl");
}

TEST(Tasks, RefuseWhatIsNotThere) {
  TemporaryFolder folder;
  for (const char* name : {"copa_dev.jsonl", "copa_test.jsonl"}) put_file(folder / name, "{}");
  auto refusal = [&](const std::string& name) {
    return message_of<InputError>([&] { find_tasks({name}, folder / "."); });
  };
  EXPECT_NE(refusal("lambda").find("lambada"), std::string::npos) << "the names that are known";
  EXPECT_NE(refusal("copa").find("copa_dev.jsonl and copa_test.jsonl"), std::string::npos);
  EXPECT_NE(refusal("bbh").find("--tasks-dir"), std::string::npos);
  EXPECT_THROW(find_tasks({"all"}, folder / "."), InputError);
  EXPECT_THROW(find_tasks({"piqa"}, "/no/such/folder"), InputError);
}

// The benchmarks themselves, where they lie beside the repository: as many questions as their description says, each
// with what its rule asks for.
TEST(Tasks, ReadEveryRecordOfTheBenchmarks) {
  fs::path dir = fs::path(TANDEM_SOURCE_DIR) / "../shared/data/eval";
  if (!fs::exists(dir)) GTEST_SKIP() << "no benchmarks beside the repository";
  const std::map<std::string, size_t> items{
      {"lambada", 5153},   {"hellaswag", 2000}, {"piqa", 1838},      {"blimp", 4020}, {"copa", 500},
      {"truthfulqa", 817}, {"winogender", 120}, {"numersense", 200}, {"aqua", 254},   {"bbh", 2160}};
  std::vector<Task> tasks = find_tasks({"all"}, dir);
  EXPECT_EQ(tasks.size(), task_names().size());
  size_t written = 0, groups = 0;
  for (const Task& task : tasks) {
    if (task.kind != TaskKind::questions) continue;
    ChoiceSet set = read_choice_set(task.file);
    EXPECT_EQ(set.format, task.name);
    EXPECT_EQ(set.items.size(), items.at(task.name)) << task.name;
    std::map<std::string, int> seen;
    for (const ChoiceItem& item : set.items) {
      ++seen[item.group];
      written += item.asks == Asks::text;
      int right = 0;
      for (const Candidate& c : item.candidates) {
        EXPECT_EQ(c.context, item.candidates[0].context) << task.name << " " << item.line;
        EXPECT_FALSE(c.text.empty());
        right += c.truth == Truth::right;
      }
      EXPECT_EQ(right, 1) << task.name << " " << item.line;
    }
    if (task.name == "blimp") groups = seen.size();
    EXPECT_TRUE(task.name != "bbh" || seen.size() == 27) << seen.size();
  }
  EXPECT_EQ(groups, 67u);
  EXPECT_EQ(written, 7u * 80) << "of BIG-Bench Hard's tasks without options";
}

}  // namespace
}  // namespace tandem::test
