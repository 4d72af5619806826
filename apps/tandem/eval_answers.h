// eval --answers: answers written to the questions of conversations.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "model_options.h"

namespace tandem::app {

struct AnswerOptions {
  std::vector<std::string> files;
  int64_t items = 0;  // 0: all
  int64_t max_tokens = 128;
  int64_t show = 0;
};

void add_answer_options(CLI::App& verb, AnswerOptions& options);

// The object under "answers". With `heldout_only` the conversations are those that training on the same files holds
// out. Shows the first few answers on standard error. InputError: no conversations, no tokens for roles.
OrderedJson score_answers(Context& ctx, const LoadedModel& loaded, const AnswerOptions& options, bool heldout_only);

std::string answer_report(const OrderedJson& scores);

}  // namespace tandem::app
