#include "eval/likelihood.h"

#include <memory>

#include "base/error.h"
#include "infer/generator.h"
#include "infer/sampler.h"

namespace tandem {
namespace {

// Reads one context and scores what may follow it.
class Scorer {
 public:
  Scorer(Model& model, Tape& tape)
      : model_(model), tape_(tape), logits_(static_cast<size_t>(model.config().vocab_size)) {}

  ContinuationScore score(const Continuation& c) {
    ContinuationScore score;
    if (c.context != context_) {
      context_ = c.context;
      read(after_context_, static_cast<int64_t>(c.tokens.size()));
    }
    add(score, after_context_, c.tokens.front());
    if (c.tokens.size() == 1) return score;
    std::unique_ptr<State> state = read(logits_, static_cast<int64_t>(c.tokens.size()));
    for (size_t i = 1; i < c.tokens.size(); ++i) {
      tape_.reset();
      model_.decode(tape_, *state, c.tokens[i - 1], logits_);
      add(score, logits_, c.tokens[i]);
    }
    return score;
  }

 private:
  std::unique_ptr<State> read(std::vector<float>& logits, int64_t more) {
    Prompt prompt = Prompt::continue_text(context_);
    std::unique_ptr<State> state = model_.new_state(prompt.tokens() + more);
    logits.resize(logits_.size());
    tape_.reset();
    model_.prefill(tape_, *state, prompt.read);
    tape_.reset();
    model_.decode(tape_, *state, prompt.opening, logits);
    return state;
  }

  static void add(ContinuationScore& score, const std::vector<float>& logits, int32_t id) {
    score.log_probability += log_probability(logits, id);
    score.greedy = score.greedy && largest_logit(logits) == id;
  }

  Model& model_;
  Tape& tape_;
  std::vector<int32_t> context_;
  std::vector<float> after_context_;
  std::vector<float> logits_;
};

}  // namespace

bool fits(const Model& model, const Continuation& c) {
  return static_cast<int64_t>(c.context.size() + c.tokens.size()) <= model.config().max_seq_len + 1;
}

std::vector<ContinuationScore> score_continuations(Model& model, Tape& tape,
                                                   const std::vector<Continuation>& continuations) {
  if (tape.recording()) throw LogicError({.what = "score_continuations: the tape records"});
  std::vector<ContinuationScore> scores;
  Scorer scorer(model, tape);
  for (const Continuation& c : continuations) {
    if (c.context.empty() || c.tokens.empty() || !fits(model, c)) {
      throw LogicError({.what = "score_continuations: empty or too long"});
    }
    scores.push_back(scorer.score(c));
  }
  tape.reset();
  return scores;
}

}  // namespace tandem
