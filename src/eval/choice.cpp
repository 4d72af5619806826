#include "eval/choice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "eval/likelihood.h"
#include "infer/text_generation.h"

namespace tandem {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
// Continuations that are scored in one call.
constexpr size_t kPerCall = 256;

struct Scored {
  const ChoiceItem* item;
  std::vector<ContinuationScore> scores;  // one per candidate
};

bool asks_for_writing(const ChoiceItem& item) { return item.candidates.size() == 1; }

// The right candidate's value is larger than that of every wrong one.
bool right_wins(const Scored& scored, bool per_byte) {
  double right = kNothing, wrong = kNothing;
  for (size_t i = 0; i < scored.scores.size(); ++i) {
    const Candidate& c = scored.item->candidates[i];
    double value = scored.scores[i].log_probability;
    if (per_byte) value /= static_cast<double>(c.text.size());
    if (c.truth == Truth::right) right = value;
    if (c.truth == Truth::wrong) wrong = std::max(wrong, value);
  }
  return right > wrong;
}

double chance_of(const ChoiceItem& item) {
  if (asks_for_writing(item)) return 0;
  int64_t choices = 0;
  for (const Candidate& c : item.candidates) choices += c.truth == Truth::right || c.truth == Truth::wrong;
  return 1.0 / static_cast<double>(choices);
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
    bool hit = asks_for_writing(item) ? scored.scores[0].greedy : right_wins(scored, false);
    count(result_.accuracy, hit);
    if (asks_for_writing(item)) {
      written_.add(scored.scores[0].log_probability);
    } else {
      if (!result_.accuracy_per_byte) result_.accuracy_per_byte.emplace();
      count(*result_.accuracy_per_byte, right_wins(scored, true));
    }
    // Some questions have a single right answer; the others of the set make it one with masses.
    if (has(item, Truth::also_right)) several_right_ = true;
    bool forms = has(item, Truth::first_form);
    if (!asks_for_writing(item) && !forms) mass_.add(right_mass(scored));
    if (forms) preference_.add(first_form_preference(scored));
    if (!item.group.empty()) count(group(item.group).accuracy, hit);
  }

  ChoiceResult finish() {
    result_.chance = chance_.value().value_or(0);
    if (auto mean = written_.value()) result_.perplexity = std::exp(-*mean);
    if (several_right_) result_.right_mass = mass_.value();
    result_.first_form_preference = preference_.value();
    Mean groups;
    for (const ChoiceGroup& g : result_.groups) groups.add(g.accuracy.value());
    result_.group_mean = groups.value();
    return std::move(result_);
  }

 private:
  static void count(Share& share, bool hit) {
    share.hits += hit;
    ++share.of;
  }

  ChoiceGroup& group(const std::string& name) {
    auto at = std::find_if(result_.groups.begin(), result_.groups.end(),
                           [&](const ChoiceGroup& g) { return g.name == name; });
    if (at != result_.groups.end()) return *at;
    return result_.groups.emplace_back(ChoiceGroup{.name = name, .accuracy = {}});
  }

  ChoiceResult result_;
  Mean chance_, written_, mass_, preference_;
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

}  // namespace

double Share::value() const { return of > 0 ? static_cast<double>(hits) / static_cast<double>(of) : 0; }

double Share::standard_error() const {
  return of > 0 ? std::sqrt(value() * (1 - value()) / static_cast<double>(of)) : 0;
}

ChoiceResult evaluate_choice(Model& model, Tape& tape, const Tokenizer& tokenizer, int32_t bos, const ChoiceSet& set) {
  Tally tally(set);
  std::vector<const ChoiceItem*> waiting;
  std::vector<Continuation> continuations;
  auto score = [&] {
    std::vector<ContinuationScore> scores = score_continuations(model, tape, continuations);
    auto next = scores.begin();
    for (const ChoiceItem* item : waiting) {
      auto end = next + static_cast<int64_t>(item->candidates.size());
      tally.add({item, {next, end}});
      next = end;
    }
    waiting.clear();
    continuations.clear();
  };
  for (const ChoiceItem& item : set.items) {
    std::vector<Continuation> candidates = continuations_of(item, tokenizer, bos);
    bool usable = std::all_of(candidates.begin(), candidates.end(),
                              [&](const Continuation& c) { return !c.tokens.empty() && fits(model, c); });
    if (!usable) {
      tally.skip();
      continue;
    }
    waiting.push_back(&item);
    for (Continuation& c : candidates) continuations.push_back(std::move(c));
    if (continuations.size() >= kPerCall) score();
  }
  score();
  return tally.finish();
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
