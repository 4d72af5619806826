#include "data/memory_tasks.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"

namespace tandem {
namespace {

TEST(MemoryTasks, ACopyIsSaidTwice) {
  Rng rng(1, 0);
  std::set<std::string> letters;
  for (int64_t size : {1, 5, 40, 200}) {
    MemoryTask task = make_memory_task(MemoryKind::copy, size, rng);
    auto n = static_cast<size_t>(size);
    ASSERT_EQ(task.words.size(), 2 * n + 2);
    EXPECT_EQ(task.words.front(), "Copy:");
    EXPECT_EQ(task.words[n + 1], " |");
    ASSERT_EQ(task.answers.size(), n);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(task.answers[i], n + 2 + i);
      EXPECT_EQ(task.words[task.answers[i]], task.words[1 + i]);
      ASSERT_EQ(task.words[1 + i].size(), 2u);
      letters.insert(task.words[1 + i]);
    }
    EXPECT_EQ(task.text().size(), 5 + 2 + 4 * n);
  }
  EXPECT_EQ(letters.size(), 26u);
}

TEST(MemoryTasks, EveryKeyIsAskedOnceForItsValue) {
  Rng rng(2, 0);
  bool reordered = false;
  std::set<std::string> keys, values;
  for (int64_t size : {1, 3, 16, 65}) {
    MemoryTask task = make_memory_task(MemoryKind::pairs, size, rng);
    auto n = static_cast<size_t>(size);
    ASSERT_EQ(task.words.size(), 4 * n + 2);
    EXPECT_EQ(task.words[2 * n + 1], " |");
    std::map<std::string, std::string> told;
    for (size_t i = 0; i < n; ++i) told[task.words[1 + 2 * i]] = task.words[2 + 2 * i];
    EXPECT_EQ(told.size(), n) << "keys are distinct";
    ASSERT_EQ(task.answers.size(), n);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(task.answers[i], 2 * n + 3 + 2 * i);
      const std::string& key = task.words[task.answers[i] - 1];
      EXPECT_EQ(task.words[task.answers[i]], told.at(key));
      reordered = reordered || key != task.words[1 + 2 * i];
    }
    for (const auto& [key, value] : told) {
      keys.insert(key);
      values.insert(value);
    }
  }
  EXPECT_TRUE(reordered);
  EXPECT_EQ(keys.size(), static_cast<size_t>(kMostPairs));
  for (const std::string& value : values) EXPECT_EQ(keys.count(value), 0u) << value;
}

TEST(MemoryTasks, AreTheSameForTheSameStream) {
  for (MemoryKind kind : {MemoryKind::copy, MemoryKind::pairs}) {
    Rng a(3, 4), b(3, 4), c(3, 5);
    std::string text = make_memory_task(kind, 9, a).text();
    EXPECT_EQ(make_memory_task(kind, 9, b).text(), text);
    EXPECT_NE(make_memory_task(kind, 9, c).text(), text);
    EXPECT_THROW(make_memory_task(kind, 0, a), InputError);
  }
  Rng rng(1, 1);
  EXPECT_THROW(make_memory_task(MemoryKind::pairs, kMostPairs + 1, rng), InputError);
}

}  // namespace
}  // namespace tandem
