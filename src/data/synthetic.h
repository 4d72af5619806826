// Made-up stories: a corpus that needs no download, of any size, whose questions can be scored.
//
// A story of 150 to 450 words introduces two to four people, always called by both names, and states facts about them
// and about things ("The red key is in the barn.", "Anna Baker has a goat."). Names and facts are drawn at random, so
// no statistics of words predict them; later sentences repeat them word for word or in other words ("Leo Wood finds the
// red key in the barn."), close by and up to several hundred tokens later. Sums ("Leo Wood has 3 eggs. Leo Wood gets 4
// more. Now Leo Wood has 7 eggs.") and lists of words that are said twice stand between them. The vocabulary is some
// 200 words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

// Stories of different splits never come from the same random numbers.
enum class SyntheticSplit { kTraining, kHeldOut, kQuestions };

// From easy to hard: a small model learns them in this order.
enum class RecallKind {
  kOnly,  // the only word of its kind in the story: its animal, its town
  kName,  // a surname behind its first name: the answer follows its cue
  kFact,  // the last word of one of several facts of a kind: the cue stands some words before it
};

// A word that is determined by what the story said before.
struct RecallPoint {
  RecallKind kind = RecallKind::kFact;
  size_t offset = 0;                // of the answer in the text: the space before the word
  std::string answer;               // " barn": the space belongs to it, as it does to tokens
  int64_t words_since = 0;          // words since the name or fact was last mentioned
  bool rephrased = false;           // said in other words than the fact
  std::vector<std::string> rivals;  // words of the same kind that would fit as well, those of this story first
};

struct Story {
  std::string text;
  std::vector<RecallPoint> recalls;
};

class StoryMaker {
 public:
  StoryMaker(uint64_t seed, SyntheticSplit split) : seed_(seed), split_(split) {}
  // The same for the same seed, split and index, on every machine.
  Story story(uint64_t index) const;

 private:
  uint64_t seed_;
  SyntheticSplit split_;
};

// A story that ends right before a word which it determines. Recall accuracy is the share of questions whose answer
// gets the largest log-likelihood among the choices (chance: one in choices.size()), or whose greedy continuation
// starts with the answer. `prompt + choice` is the text to score; the answer is among the choices.
struct RecallQuestion {
  RecallKind kind = RecallKind::kFact;
  std::string prompt;
  std::string answer;
  std::vector<std::string> choices;
  int64_t words_since = 0;
};

// The kinds take turns, each answer not mentioned for 40 words or more. 8 choices.
// With `longest_prompt_bytes` > 0 only stories whose prompt is not longer are used.
std::vector<RecallQuestion> recall_questions(uint64_t seed, int64_t count, size_t longest_prompt_bytes = 0);

}  // namespace tandem
