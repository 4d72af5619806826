// A needle in a haystack (after Kamradt 2023): a sentence with a random code somewhere in a long text, and a question
// for the code behind it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "eval/likelihood.h"
#include "eval/share.h"
#include "eval/subject.h"

namespace tandem {

struct NeedleOptions {
  std::vector<int64_t> lengths;                       // tokens in all: BOS, haystack with needle, question and code
  std::vector<double> depths{0, 0.25, 0.5, 0.75, 1};  // the share of the haystack that stands before the needle
  int64_t trials = 8;                                 // for each length and depth
  int64_t distractors = 7;                            // codes that are offered beside the right one
  uint64_t seed = 1;
};

struct NeedleTrial {
  std::vector<std::string> codes;           // the right one first
  std::vector<Continuation> continuations;  // each code behind the same context
};

// Makes the questions out of a text. `longest`: tokens of the longest one.
class NeedleMaker {
 public:
  // InputError for a text that is too short.
  NeedleMaker(const Tokenizer& tokenizer, int32_t bos, const std::string& text, const NeedleOptions& options,
              int64_t longest);
  // The same for the same seed, length, depth and number, whatever else is asked. InputError for a length in which
  // needle and question leave no room for a haystack.
  NeedleTrial make(int64_t length, double depth, int64_t number) const;

 private:
  std::span<const int32_t> stretch(size_t count, Rng& rng) const;
  size_t sentence_end(std::span<const int32_t> stretch, size_t place) const;
  std::vector<int32_t> hide(const std::vector<int32_t>& needle, size_t hay, double depth, Rng& rng) const;

  const Tokenizer& tokenizer_;
  int32_t bos_;
  NeedleOptions options_;
  std::vector<int32_t> haystack_;
  std::vector<char> ends_;  // of the haystack's tokens: whether they end a sentence
};

struct NeedleCell {
  int64_t length = 0;
  double depth = 0;
  Share choice;  // the right code has the largest log-probability among all that are offered; ties are wrong
  Share greedy;  // the model writes the code
  double rank_sum = 0;
  double mean_rank() const { return choice.of > 0 ? rank_sum / static_cast<double>(choice.of) : 0; }  // 1: the first
};

struct NeedleResult {
  std::vector<int64_t> lengths;  // that fit into the model's rows
  std::vector<int64_t> too_long;
  std::vector<double> depths;
  int64_t codes = 0;              // offered
  std::vector<NeedleCell> cells;  // by length, then depth
  Share choice() const;
  Share greedy() const;
};

// Lengths for a model's rows when nobody names any: all of them, a half, a quarter, an eighth.
std::vector<int64_t> needle_lengths(int64_t rows);

// The haystack is a stretch of `text` that begins at a sentence; the needle stands between two sentences where one ends
// near its place. Lengths beyond the model's rows are left out. InputError for a length in which needle and question
// leave no room for a haystack, when no length fits, and for a text that is too short.
NeedleResult evaluate_needle(const Subject& subject, const std::string& text, const NeedleOptions& options,
                             const EvalHooks& hooks = {});

OrderedJson to_json(const NeedleResult& result);

}  // namespace tandem
