#include "eval/choice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "eval/greedy_text.h"
#include "eval/likelihood.h"
#include "infer/text_generation.h"

namespace tandem {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
// Continuations that are scored in one call.
constexpr size_t kPerCall = 1024;

// A question with what the model makes of it.
struct Scored {
  const ChoiceItem* item = nullptr;
  std::vector<ContinuationScore> scores;  // one per candidate; none where a text is asked for
  WrittenAnswer written;                  // where it is
};

double value_of(const Scored& scored, size_t i, bool per_byte) {
  double value = scored.scores[i].log_probability;
  return per_byte ? value / static_cast<double>(scored.item->candidates[i].text.size()) : value;
}

bool competes(const Candidate& c) { return c.truth == Truth::right || c.truth == Truth::wrong; }

// The right candidate's value is larger than that of every wrong one.
bool right_wins(const Scored& scored, bool per_byte) {
  double right = kNothing, wrong = kNothing;
  for (size_t i = 0; i < scored.scores.size(); ++i) {
    double value = value_of(scored, i, per_byte);
    if (scored.item->candidates[i].truth == Truth::right) right = value;
    if (scored.item->candidates[i].truth == Truth::wrong) wrong = std::max(wrong, value);
  }
  return right > wrong;
}

bool hit(const Scored& scored) {
  switch (scored.item->asks) {
    case Asks::choice: return right_wins(scored, false);
    case Asks::tokens: return scored.scores[0].greedy;
    case Asks::text: return scored.written.right;
  }
  return false;
}

// The first of the largest among right and wrong ones.
size_t chosen(const Scored& scored, bool per_byte) {
  size_t best = scored.scores.size();
  for (size_t i = 0; i < scored.scores.size(); ++i) {
    if (!competes(scored.item->candidates[i])) continue;
    if (best == scored.scores.size() || value_of(scored, i, per_byte) > value_of(scored, best, per_byte)) best = i;
  }
  return best;
}

double chance_of(const ChoiceItem& item) {
  if (item.asks != Asks::choice) return 0;
  return 1.0 / static_cast<double>(std::count_if(item.candidates.begin(), item.candidates.end(), competes));
}

bool has(const ChoiceItem& item, Truth truth) {
  return std::any_of(item.candidates.begin(), item.candidates.end(),
                     [&](const Candidate& c) { return c.truth == truth; });
}

// The right ones' share of the probability of all.
double right_mass(const Scored& scored) {
  double largest = kNothing, right = 0, all = 0;
  for (const ContinuationScore& s : scored.scores) largest = std::max(largest, s.log_probability);
  for (size_t i = 0; i < scored.scores.size(); ++i) {
    double mass = std::exp(scored.scores[i].log_probability - largest);
    all += mass;
    if (scored.item->candidates[i].truth != Truth::wrong) right += mass;
  }
  return right / all;
}

double first_form_preference(const Scored& scored) {
  double difference = 0;
  for (size_t i = 0; i < scored.scores.size(); ++i) {
    Truth truth = scored.item->candidates[i].truth;
    if (truth == Truth::first_form) difference += scored.scores[i].log_probability;
    if (truth == Truth::second_form) difference -= scored.scores[i].log_probability;
  }
  return difference;
}

// A mean that exists when something was added.
struct Mean {
  double sum = 0;
  int64_t count = 0;
  void add(double value) {
    sum += value;
    ++count;
  }
  std::optional<double> value() const {
    if (count == 0) return std::nullopt;
    return sum / static_cast<double>(count);
  }
};

class Tally {
 public:
  explicit Tally(const ChoiceSet& set) {
    result_.name = set.name;
    result_.format = set.format;
  }

  void skip() { ++result_.skipped; }

  void add(const Scored& scored) {
    const ChoiceItem& item = *scored.item;
    ++result_.items;
    chance_.add(chance_of(item));
    bool right = hit(scored);
    result_.accuracy.add(right);
    if (!item.group.empty()) group(item.group).accuracy.add(right);
    switch (item.asks) {
      case Asks::choice: return add_choice(scored);
      case Asks::tokens: return tokens_.add(scored.scores[0].log_probability);
      case Asks::text: return added(result_.written, right);
    }
  }

  ChoiceResult finish() {
    result_.chance = chance_.value().value_or(0);
    if (auto mean = tokens_.value()) result_.perplexity = std::exp(-*mean);
    if (several_right_) result_.right_mass = mass_.value();
    result_.first_form_preference = preference_.value();
    Mean groups;
    for (const ChoiceGroup& g : result_.groups) groups.add(g.accuracy.value());
    result_.group_mean = groups.value();
    return std::move(result_);
  }

 private:
  static void added(std::optional<Share>& share, bool right) {
    if (!share) share.emplace();
    share->add(right);
  }

  void add_choice(const Scored& scored) {
    const ChoiceItem& item = *scored.item;
    added(result_.accuracy_per_byte, right_wins(scored, true));
    // Some questions have a single right answer; the others of the set make it one with masses.
    if (has(item, Truth::also_right)) several_right_ = true;
    if (has(item, Truth::first_form)) {
      preference_.add(first_form_preference(scored));
    } else {
      mass_.add(right_mass(scored));
    }
  }

  ChoiceGroup& group(const std::string& name) {
    auto at = std::find_if(result_.groups.begin(), result_.groups.end(),
                           [&](const ChoiceGroup& g) { return g.name == name; });
    if (at != result_.groups.end()) return *at;
    return result_.groups.emplace_back(ChoiceGroup{.name = name, .accuracy = {}});
  }

  ChoiceResult result_;
  Mean chance_, tokens_, mass_, preference_;
  bool several_right_ = false;
};

std::vector<Continuation> continuations_of(const ChoiceItem& item, const Tokenizer& tokenizer, int32_t bos) {
  std::vector<Continuation> all;
  for (const Candidate& candidate : item.candidates) {
    Continuation c;
    if (!candidate.context.empty()) {
      c.context = encode_prompt(tokenizer, candidate.context, bos);
    } else if (bos >= 0) {
      c.context = {bos};
    }
    c.tokens = tokenizer.encode(candidate.text);
    // Without BOS the first token of a text has nothing to be predicted from.
    if (c.context.empty() && !c.tokens.empty()) {
      c.context = {c.tokens.front()};
      c.tokens.erase(c.tokens.begin());
    }
    all.push_back(std::move(c));
  }
  return all;
}

bool usable(const Model& model, const std::vector<Continuation>& candidates) {
  return std::all_of(candidates.begin(), candidates.end(),
                     [&](const Continuation& c) { return !c.tokens.empty() && fits(model, c); });
}

OrderedJson line_of(const ChoiceSet& set, const Scored& scored) {
  const ChoiceItem& item = *scored.item;
  OrderedJson line{{"task", set.name}, {"line", item.line}};
  if (!item.group.empty()) line["group"] = item.group;
  line["context"] = item.candidates.front().context;
  for (size_t i = 0; i < item.candidates.size(); ++i) {
    const Candidate& c = item.candidates[i];
    OrderedJson candidate{{"text", c.text}, {"truth", truth_name(c.truth)}};
    if (!scored.scores.empty()) {
      candidate["tokens"] = scored.scores[i].tokens.size();
      candidate["log_probability"] = scored.scores[i].log_probability;
      candidate["greedy"] = scored.scores[i].greedy;
    }
    line["candidates"].push_back(std::move(candidate));
  }
  if (item.asks == Asks::text) line["written"] = scored.written.text;
  if (item.asks == Asks::choice) {
    line["chosen"] = chosen(scored, false);
    line["chosen_per_byte"] = chosen(scored, true);
    line["correct_per_byte"] = right_wins(scored, true);
  }
  line["correct"] = hit(scored);
  return line;
}

// The questions of a set on their way.
class Asking {
 public:
  Asking(const Subject& subject, const ChoiceSet& set, const EvalHooks& hooks)
      : subject_(subject), set_(set), hooks_(hooks), tally_(set) {}

  ChoiceResult run() {
    for (const ChoiceItem& item : set_.items) {
      std::vector<Continuation> candidates = continuations_of(item, subject_.tokenizer, subject_.bos);
      if (!usable(subject_.model, candidates)) {
        tally_.skip();
        ++done_;
        continue;
      }
      waiting_.push_back(&item);
      if (item.asks == Asks::text) {
        written_.push_back({std::move(candidates.front().context), item.candidates.front().text.substr(1)});
      } else {
        for (Continuation& c : candidates) continuations_.push_back(std::move(c));
      }
      if (continuations_.size() + written_.size() >= kPerCall) ask();
    }
    ask();
    return tally_.finish();
  }

 private:
  // Everything that waits.
  void ask() {
    auto total = static_cast<int64_t>(set_.items.size());
    auto count = [&](double share) {
      hooks_.done(done_ + static_cast<int64_t>(share * static_cast<double>(waiting_.size())), total);
    };
    double scored_share = static_cast<double>(continuations_.size()) /
                          static_cast<double>(std::max<size_t>(1, continuations_.size() + written_.size()));
    std::vector<ContinuationScore> scores =
        score_continuations(subject_.model, subject_.tape, continuations_, [&](size_t done) {
          count(scored_share * static_cast<double>(done) / static_cast<double>(continuations_.size()));
        });
    std::vector<WrittenAnswer> answers;
    if (!written_.empty()) {
      answers = write_answers(
          subject_, written_, {.progress = [&](int64_t done, int64_t all) {
            count(scored_share + (1 - scored_share) * static_cast<double>(done) / static_cast<double>(all));
          }});
    }
    tell(scores, answers);
    done_ += static_cast<int64_t>(waiting_.size());
    waiting_.clear();
    continuations_.clear();
    written_.clear();
    hooks_.done(done_, total);
  }

  void tell(std::vector<ContinuationScore>& scores, std::vector<WrittenAnswer>& answers) {
    auto score = scores.begin();
    auto answer = answers.begin();
    for (const ChoiceItem* item : waiting_) {
      Scored scored{.item = item};
      if (item->asks == Asks::text) {
        scored.written = std::move(*answer++);
      } else {
        auto end = score + static_cast<int64_t>(item->candidates.size());
        scored.scores.assign(std::make_move_iterator(score), std::make_move_iterator(end));
        score = end;
      }
      tally_.add(scored);
      if (hooks_.item) hooks_.item(line_of(set_, scored));
    }
  }

  const Subject& subject_;
  const ChoiceSet& set_;
  const EvalHooks& hooks_;
  Tally tally_;
  int64_t done_ = 0;  // questions
  std::vector<const ChoiceItem*> waiting_;
  std::vector<Continuation> continuations_;
  std::vector<WrittenQuestion> written_;
};

}  // namespace

ChoiceResult evaluate_choice(const Subject& subject, const ChoiceSet& set, const EvalHooks& hooks) {
  return Asking(subject, set, hooks).run();
}

OrderedJson to_json(const ChoiceResult& r) {
  OrderedJson json{{"name", r.name}, {"format", r.format}, {"items", r.items}, {"skipped", r.skipped}};
  if (r.items == 0) {
    json["chance"] = json["accuracy"] = json["standard_error"] = nullptr;
    return json;
  }
  json["chance"] = r.chance;
  json["accuracy"] = r.accuracy.value();
  json["standard_error"] = r.accuracy.standard_error();
  if (r.accuracy_per_byte) {
    json["accuracy_per_byte"] = r.accuracy_per_byte->value();
    json["standard_error_per_byte"] = r.accuracy_per_byte->standard_error();
  }
  if (r.written) {
    json["written"] = {
        {"items", r.written->of}, {"accuracy", r.written->value()}, {"standard_error", r.written->standard_error()}};
  }
  if (r.perplexity) json["perplexity"] = *r.perplexity;
  if (r.right_mass) json["right_mass"] = *r.right_mass;
  if (r.first_form_preference) json["first_form_preference"] = *r.first_form_preference;
  if (!r.groups.empty()) {
    json["group_mean"] = *r.group_mean;
    for (const ChoiceGroup& g : r.groups) {
      json["groups"].push_back({{"name", g.name}, {"items", g.accuracy.of}, {"accuracy", g.accuracy.value()}});
    }
  }
  return json;
}

}  // namespace tandem
