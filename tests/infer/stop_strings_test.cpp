#include "infer/stop_strings.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/rng.h"

namespace tandem {
namespace {

struct Streamed {
  std::string text;
  bool found;
};

Streamed stream(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopStrings filter(stops);
  std::string text;
  for (const std::string& piece : pieces) {
    text += filter.push(piece);
    if (filter.found()) break;
  }
  text += filter.finish();
  return {text, filter.found()};
}

// The text up to the stop string that begins first.
std::string expected(const std::string& text, const std::vector<std::string>& stops) {
  size_t end = text.size();
  for (const std::string& stop : stops) end = std::min(end, text.find(stop));
  return text.substr(0, end);
}

TEST(StopStrings, WithoutStopsTextPassesAtOnce) {
  StopStrings filter({});
  EXPECT_EQ(filter.push("abc"), "abc");
  EXPECT_EQ(filter.finish(), "");
  EXPECT_FALSE(filter.found());
}

TEST(StopStrings, BeginningsWaitUntilTheyAreDecided) {
  StopStrings filter({"END"});
  EXPECT_EQ(filter.push("the E"), "the ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("OUGH E"), "ENOUGH ");
  EXPECT_EQ(filter.push("ND more"), "");
  EXPECT_TRUE(filter.found());
  EXPECT_EQ(filter.push("late"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopStrings, AnUnfinishedBeginningComesOutAtTheEnd) {
  Streamed result = stream({"END"}, {"the EN"});
  EXPECT_EQ(result.text, "the EN");
  EXPECT_FALSE(result.found);
}

TEST(StopStrings, TheOneThatBeginsFirstWins) {
  EXPECT_EQ(stream({"abcde", "bc"}, {"xabcde"}).text, "x");
  EXPECT_EQ(stream({"abcde", "bc"}, {"xabc", "xyz"}).text, "xa");
  Streamed unfinished = stream({"abcde", "bc"}, {"xabc"});
  EXPECT_EQ(unfinished.text, "xa");
  EXPECT_TRUE(unfinished.found);
}

TEST(StopStrings, AnyCutIntoPiecesGivesTheSame) {
  const std::vector<std::vector<std::string>> stop_sets{{"ab"}, {"aab", "ba"}, {"bbb", "abab"}, {"aaaa"}};
  Rng rng(3, 0);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    uint32_t length = 1 + rng.below(12);
    for (uint32_t i = 0; i < length; ++i) text += rng.below(2) ? 'a' : 'b';
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      size_t size = 1 + rng.below(3);
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    for (const auto& stops : stop_sets) {
      Streamed result = stream(stops, pieces);
      ASSERT_EQ(result.text, expected(text, stops)) << text;
      ASSERT_EQ(result.found, expected(text, stops).size() < text.size()) << text;
    }
  }
}

TEST(StopStrings, EmptyOnesAreRefused) { EXPECT_THROW(StopStrings({"x", ""}), InputError); }

}  // namespace
}  // namespace tandem
