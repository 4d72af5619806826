#include "eval/likelihood.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {
namespace {

// Tokens of one pass: enough for matrix products to run at their speed.
constexpr int64_t kTokensPerPass = 2048;

int64_t size_of(const Continuation& c) { return static_cast<int64_t>(c.context.size() + c.tokens.size()); }

// How an architecture is asked for what it does when it continues a text. Behind a context of several tokens it is a
// conversation: all but the context's last token is read, and that token opens what is written, as a role token does.
// A context of one token is a text's beginning, or, where an architecture knows no plain text, all that is read.
Objective objective_of(const Model& model, const Continuation& c) {
  if (c.context.size() > 1) return Objective::conversation;
  return learns(model.config().arch, Objective::text) ? Objective::text : Objective::prefix_lm;
}

// One long row of continuations that do not see each other.
class Row {
 public:
  explicit Row(Objective objective) {
    batch_.rows = 1;
    batch_.isolated = true;
    batch_.objective = objective;
  }

  void add(const Continuation& c) {
    auto opening = static_cast<int64_t>(c.context.size()) - 1, size = size_of(c);
    for (int64_t t = 0; t < size; ++t) {
      auto at = static_cast<size_t>(t);
      batch_.ids.push_back(t <= opening ? c.context[at] : c.tokens[at - c.context.size()]);
      batch_.positions.push_back(static_cast<int32_t>(t));
      batch_.segments.push_back(segments_);
      bool labelled = t >= opening && t + 1 < size;
      batch_.labels.push_back(labelled ? c.tokens[static_cast<size_t>(t - opening)] : kIgnoreLabel);
      batch_.roles.push_back(batch_.objective != Objective::conversation ? Role::text
                             : t < opening                               ? Role::prompt
                                                                         : Role::response);
    }
    ++segments_;
    batch_.length += size;
  }

  // The batch, laid out by the architecture.
  const Batch& prepared(const Model& model) {
    Rng rng(0, 0);  // nothing is left to be drawn
    if (batch_.objective == Objective::prefix_lm) batch_.prefixes.assign(static_cast<size_t>(segments_), 1);
    // A text that is not prepared stands in one block.
    if (batch_.objective != Objective::text) model.prepare(batch_, rng);
    return batch_;
  }

 private:
  Batch batch_;
  int32_t segments_ = 0;
};

// Where the labels of each continuation stand, in the order of the rows.
class LabelWalk {
 public:
  explicit LabelWalk(const Batch& batch)
      : labels_(batch.loss_labels()), ends_in_eos_(batch.objective == Objective::prefix_lm) {
    auto labelled = labels_.size() - static_cast<size_t>(std::count(labels_.begin(), labels_.end(), kIgnoreLabel));
    opening_predicted_ = !ends_in_eos_ && labelled > static_cast<size_t>(batch.labelled());
  }

  // Index of the first label of the next continuation.
  size_t next(const Continuation& c) {
    while (at_ < labels_.size() && labels_[at_] == kIgnoreLabel) ++at_;
    at_ += opening_predicted_;
    size_t first = at_;
    for (int32_t id : c.tokens) {
      if (at_ >= labels_.size() || labels_[at_] != id) {
        throw LogicError({.what = "score_continuations: labels are not those of the continuation"});
      }
      ++at_;
    }
    at_ += ends_in_eos_;
    return first;
  }

 private:
  std::span<const int32_t> labels_;
  // An encoder-decoder's writer predicts one token more: that which opens, or the end of the text.
  bool ends_in_eos_;
  bool opening_predicted_ = false;
  size_t at_ = 0;
};

void score_pass(Model& model, Tape& tape, const std::vector<Continuation>& all, std::span<const size_t> chosen,
                std::vector<ContinuationScore>& scores) {
  Row row(objective_of(model, all[chosen.front()]));
  for (size_t i : chosen) row.add(all[i]);
  const Batch& batch = row.prepared(model);
  tape.reset();
  auto count = static_cast<int64_t>(batch.loss_labels().size());
  Tensor losses = tape.arena().tensor(tape.precision().residual, {count});
  std::vector<uint8_t> correct(static_cast<size_t>(count));
  model.loss(tape, batch, /*count_correct=*/true, losses, correct);
  LabelWalk labels(batch);
  for (size_t i : chosen) {
    size_t first = labels.next(all[i]);
    for (size_t t = first; t < first + all[i].tokens.size(); ++t) {
      scores[i].log_probability -= load_element(losses, static_cast<int64_t>(t), 0);
      scores[i].greedy = scores[i].greedy && correct[t] != 0;
    }
  }
}

}  // namespace

bool fits(const Model& model, const Continuation& c) { return size_of(c) <= model.config().max_seq_len; }

std::vector<ContinuationScore> score_continuations(Model& model, Tape& tape,
                                                   const std::vector<Continuation>& continuations) {
  if (tape.recording()) throw LogicError({.what = "score_continuations: the tape records"});
  std::vector<ContinuationScore> scores(continuations.size());
  std::vector<size_t> waiting;
  int64_t tokens = 0;
  auto score = [&] {
    if (!waiting.empty()) score_pass(model, tape, continuations, waiting, scores);
    waiting.clear();
    tokens = 0;
  };
  for (Objective objective : {Objective::conversation, Objective::text, Objective::prefix_lm}) {
    for (size_t i = 0; i < continuations.size(); ++i) {
      const Continuation& c = continuations[i];
      if (c.context.empty() || c.tokens.empty() || !fits(model, c)) {
        throw LogicError({.what = "score_continuations: empty or too long"});
      }
      if (objective_of(model, c) != objective) continue;
      if (tokens + size_of(c) > kTokensPerPass) score();
      waiting.push_back(i);
      tokens += size_of(c);
    }
    score();
  }
  tape.reset();
  return scores;
}

}  // namespace tandem
