// Questions scored by log-likelihood: which of the given texts does the model find likeliest?
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/choice_formats.h"
#include "eval/share.h"
#include "eval/subject.h"

namespace tandem {

struct ChoiceGroup {
  std::string name;
  Share accuracy;
};

// What a set does not ask for has no number.
struct ChoiceResult {
  std::string name;     // of the set
  std::string format;   // of ChoiceFormat
  int64_t items = 0;    // that were asked
  int64_t skipped = 0;  // with a candidate that does not fit into the model's positions
  double chance = 0;    // expected accuracy of guessing
  Share accuracy;       // the right candidate has the largest log-probability, or was written; ties are wrong
  std::optional<Share> accuracy_per_byte;  // of choices: the same by log-probability over bytes of the candidate's text
  std::optional<Share> written;            // where some questions ask for a text: the share of them that was written
  std::optional<double> perplexity;        // of Asks::tokens: exp(-mean log-probability of the right text)
  std::optional<double> right_mass;        // mean over items of the right ones' share of all candidates' probability
  std::optional<double> first_form_preference;  // mean of log p(first form) - log p(second form), nats
  std::optional<double> group_mean;             // mean of the groups' accuracies
  std::vector<ChoiceGroup> groups;              // in the order of their first item
};

// Contexts begin with BOS; a candidate without context is scored behind BOS alone. Context and candidate are tokenised
// apart: the space between them belongs to the candidate. docs/json.md says what a line about an item holds.
ChoiceResult evaluate_choice(const Subject& subject, const ChoiceSet& set, const EvalHooks& hooks = {});

OrderedJson to_json(const ChoiceResult& result);

}  // namespace tandem
