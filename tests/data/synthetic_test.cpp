#include "data/synthetic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <string_view>

namespace tandem {
namespace {

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

TEST(Stories, AreAFunctionOfSeedSplitAndIndex) {
  StoryMaker maker(5, SyntheticSplit::kTraining);
  EXPECT_EQ(maker.story(3).text, StoryMaker(5, SyntheticSplit::kTraining).story(3).text);
  std::set<std::string> texts;
  for (uint64_t seed : {5, 6}) {
    for (auto split : {SyntheticSplit::kTraining, SyntheticSplit::kHeldOut, SyntheticSplit::kQuestions}) {
      for (uint64_t index = 0; index < 100; ++index) {
        EXPECT_TRUE(texts.insert(StoryMaker(seed, split).story(index).text).second);
      }
    }
  }
}

TEST(Stories, HaveTheStatedLengthAndVocabulary) {
  StoryMaker maker(1, SyntheticSplit::kTraining);
  std::set<std::string> vocabulary;
  for (uint64_t i = 0; i < 500; ++i) {
    std::vector<std::string> words = words_of(maker.story(i).text);
    EXPECT_GE(words.size(), 150u);
    EXPECT_LE(words.size(), 450u);
    vocabulary.insert(words.begin(), words.end());
  }
  EXPECT_LT(vocabulary.size(), 400u);
  EXPECT_GT(vocabulary.size(), 150u);
}

TEST(Stories, RecallPointsAreDeterminedByTheStory) {
  StoryMaker maker(2, SyntheticSplit::kTraining);
  int64_t names = 0, points = 0, far = 0, rephrased = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    Story story = maker.story(i);
    EXPECT_GE(story.recalls.size(), 4u);
    for (const RecallPoint& point : story.recalls) {
      std::string before = story.text.substr(0, point.offset);
      EXPECT_EQ(story.text.substr(point.offset, point.answer.size()), point.answer);
      // The answer stands earlier in the story, `words_since` words ago.
      size_t earlier = before.rfind(point.answer);
      ASSERT_NE(earlier, std::string::npos);
      // The words between the two, the cue of the second included. A full stop or comma may follow the first answer.
      size_t next = before.find(' ', earlier + 1);
      auto between = static_cast<int64_t>(words_of(before.substr(std::min(next, before.size()))).size());
      EXPECT_EQ(between, point.words_since);
      EXPECT_EQ(std::count(point.rivals.begin(), point.rivals.end(), point.answer), 0);
      EXPECT_GE(point.rivals.size(), 7u);
      if (point.kind == RecallKind::kName) {
        ++names;
        EXPECT_FALSE(point.rephrased);
        continue;
      }
      ++points;
      far += point.words_since >= 100;
      rephrased += point.rephrased;
    }
  }
  EXPECT_GT(names, points / 2);
  EXPECT_GT(far, points / 20);
  EXPECT_GT(rephrased, points / 4);
  EXPECT_LT(rephrased, points / 2);
}

TEST(Stories, AFactNeverChanges) {
  StoryMaker maker(3, SyntheticSplit::kTraining);
  for (uint64_t i = 0; i < 200; ++i) {
    std::string text = maker.story(i).text;
    std::set<std::string> places;
    // Every sentence "The COLOUR OBJECT is in the PLACE." of a thing names one place.
    for (size_t at = text.find(" is in the "); at != std::string::npos; at = text.find(" is in the ", at + 1)) {
      size_t begin = text.rfind("The ", at), end = text.find('.', at);
      places.insert(text.substr(begin, end - begin));
    }
    std::set<std::string> things;
    for (const std::string& sentence : places) {
      EXPECT_TRUE(things.insert(sentence.substr(0, sentence.find(" is in the "))).second) << text;
    }
  }
}

TEST(Stories, SumsAreRight) {
  StoryMaker maker(4, SyntheticSplit::kTraining);
  int sums = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    std::vector<std::string> words = words_of(maker.story(i).text);
    for (size_t at = 11; at + 4 < words.size(); ++at) {
      if (words[at] != "Now" || words[at + 3] != "has") continue;
      // Now NAME NAME has C THINGS. Before: NAME NAME has A THINGS. NAME NAME gets B more. | NAME NAME loses B of them.
      bool more = words[at - 1] == "more.";
      size_t change = at - (more ? 2 : 3);
      int had = std::stoi(words[change - 5]), by = std::stoi(words[change]), now = std::stoi(words[at + 4]);
      EXPECT_EQ(words[change - 1], more ? "gets" : "loses");
      EXPECT_EQ(now, more ? had + by : had - by);
      EXPECT_GT(now, 0);
      ++sums;
    }
  }
  EXPECT_GT(sums, 200);
}

TEST(Stories, ListsAreSaidTwice) {
  StoryMaker maker(5, SyntheticSplit::kTraining);
  int lists = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    std::string text = maker.story(i).text;
    constexpr std::string_view kFirst = " says the words ", kSecond = " says again the words ";
    size_t first = text.find(kFirst), second = text.find(kSecond);
    EXPECT_EQ(first == std::string::npos, second == std::string::npos);
    if (first == std::string::npos) continue;
    std::string list = text.substr(first + kFirst.size());
    list = list.substr(0, list.find('.') + 1);
    EXPECT_EQ(text.substr(second + kSecond.size(), list.size()), list);
    ++lists;
  }
  EXPECT_GT(lists, 100);
}

TEST(RecallQuestions, EndBeforeAWordThatTheStoryDetermines) {
  std::vector<RecallQuestion> questions = recall_questions(1, 300);
  ASSERT_EQ(questions.size(), 300u);
  std::set<std::string> prompts;
  std::vector<int> places(8, 0);
  std::vector<int> kinds(3, 0);
  for (const RecallQuestion& question : questions) {
    EXPECT_TRUE(prompts.insert(question.prompt).second);
    EXPECT_NE(question.prompt.back(), ' ');
    EXPECT_EQ(question.answer.front(), ' ');
    EXPECT_GE(question.words_since, 40);
    EXPECT_EQ(question.choices.size(), 8u);
    EXPECT_EQ(std::set<std::string>(question.choices.begin(), question.choices.end()).size(), 8u);
    auto at = std::find(question.choices.begin(), question.choices.end(), question.answer);
    ASSERT_NE(at, question.choices.end());
    ++places[static_cast<size_t>(at - question.choices.begin())];
    EXPECT_NE(question.prompt.find(question.answer), std::string::npos);
    ++kinds[static_cast<size_t>(question.kind)];
    if (question.kind != RecallKind::kOnly) continue;
    for (const std::string& choice : question.choices) {
      EXPECT_EQ(question.prompt.find(choice) != std::string::npos, choice == question.answer) << choice;
    }
  }
  // No place among the choices is preferred: 37.5 expected, standard deviation 5.7.
  for (int count : places) EXPECT_NEAR(count, 37.5, 29);
  EXPECT_EQ(kinds, std::vector<int>(3, 100));
}

TEST(RecallQuestions, AreTheSameForTheSameSeedAndFitTheirLimit) {
  auto prompts = [](uint64_t seed) {
    std::vector<std::string> all;
    for (const RecallQuestion& question : recall_questions(seed, 20, 900)) {
      EXPECT_LE(question.prompt.size(), 900u);
      all.push_back(question.prompt);
    }
    return all;
  };
  EXPECT_EQ(prompts(1), prompts(1));
  EXPECT_NE(prompts(1), prompts(2));
}

// The choices must not give the answer away: each question about a fact has a wrong choice that the story names as
// well, or nearly each.
TEST(RecallQuestions, WrongChoicesAreNamedByTheStoryToo) {
  double named = 0, asked = 0;
  std::vector<RecallQuestion> questions = recall_questions(3, 300);
  for (const RecallQuestion& question : questions) {
    if (question.kind == RecallKind::kOnly) continue;
    ++asked;
    auto told = [&](const std::string& choice) { return question.prompt.find(choice) != std::string::npos; };
    named += static_cast<double>(std::count_if(question.choices.begin(), question.choices.end(), told));
  }
  EXPECT_GT(named / asked, 2.5);
}

}  // namespace
}  // namespace tandem
