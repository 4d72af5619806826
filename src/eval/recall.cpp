#include "eval/recall.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "infer/sampler.h"
#include "infer/text_generation.h"

namespace tandem {
namespace {

struct Score {
  double log_likelihood = 0;
  bool greedy = true;  // every token had the largest logit
};

// Scores continuations of one prompt.
class Scorer {
 public:
  Scorer(Model& model, Tape& tape, std::vector<int32_t> prompt)
      : model_(model),
        tape_(tape),
        prompt_(std::move(prompt)),
        after_prompt_(static_cast<size_t>(model.config().vocab_size)),
        logits_(after_prompt_.size()) {
    read_prompt(after_prompt_, 0);
  }

  Score score(const std::vector<int32_t>& continuation) {
    Score score;
    add(score, after_prompt_, continuation.front());
    if (continuation.size() == 1) return score;
    std::unique_ptr<State> state = read_prompt(logits_, static_cast<int64_t>(continuation.size()));
    for (size_t i = 1; i < continuation.size(); ++i) {
      tape_.reset();
      model_.decode(tape_, *state, continuation[i - 1], logits_);
      add(score, logits_, continuation[i]);
    }
    return score;
  }

 private:
  // The state after the prompt, with room for `more` tokens, and the logits of what follows.
  std::unique_ptr<State> read_prompt(std::vector<float>& logits, int64_t more) {
    Prompt prompt = Prompt::continue_text(prompt_);
    std::unique_ptr<State> state = model_.new_state(prompt.tokens() + more);
    tape_.reset();
    model_.prefill(tape_, *state, prompt.read);
    tape_.reset();
    model_.decode(tape_, *state, prompt.opening, logits);
    return state;
  }

  static void add(Score& score, const std::vector<float>& logits, int32_t id) {
    score.log_likelihood += log_probability(logits, id);
    score.greedy = score.greedy && largest_logit(logits) == id;
  }

  Model& model_;
  Tape& tape_;
  std::vector<int32_t> prompt_;
  std::vector<float> after_prompt_;
  std::vector<float> logits_;
};

void ask(RecallResult& result, Scorer& scorer, const RecallQuestion& question,
         const std::vector<std::vector<int32_t>>& choices) {
  double answer = -std::numeric_limits<double>::infinity(), rival = answer;
  for (size_t i = 0; i < choices.size(); ++i) {
    Score score = scorer.score(choices[i]);
    if (question.choices[i] == question.answer) {
      answer = score.log_likelihood;
      result.greedy += score.greedy;
    } else {
      rival = std::max(rival, score.log_likelihood);
    }
  }
  result.right += answer > rival;
}

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

double RecallResult::accuracy() const { return share(right, questions); }
double RecallResult::greedy_accuracy() const { return share(greedy, questions); }

RecallResult evaluate_recall(Model& model, Tape& tape, const Tokenizer& tokenizer, int32_t bos,
                             const std::vector<RecallQuestion>& questions) {
  if (tape.recording()) throw LogicError({.what = "evaluate_recall: the tape records"});
  RecallResult result;
  for (const RecallQuestion& question : questions) {
    std::vector<int32_t> prompt = encode_prompt(tokenizer, question.prompt, bos);
    std::vector<std::vector<int32_t>> choices;
    size_t longest = 0;
    for (const std::string& choice : question.choices) {
      choices.push_back(tokenizer.encode(choice));
      longest = std::max(longest, choices.back().size());
    }
    if (static_cast<int64_t>(prompt.size() + longest) > model.config().max_seq_len) {
      ++result.skipped;
      continue;
    }
    Scorer scorer(model, tape, std::move(prompt));
    ask(result, scorer, question, choices);
    ++result.questions;
  }
  tape.reset();
  return result;
}

}  // namespace tandem
