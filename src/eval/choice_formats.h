// Benchmarks of questions with known answers, read from JSON lines: one table of formats, told apart by their fields.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"

namespace tandem {

enum class Truth {
  right,
  also_right,  // counts for the mass of the right answers, not as a rival of the right one
  wrong,
  first_form,   // a pair of sentences that is compared beside the question: "he"
  second_form,  // and "she"
};

// A text after a context (empty: the text begins a document), to be scored by its log-probability.
struct Candidate {
  std::string context;
  std::string text;
  Truth truth = Truth::wrong;
};

std::string_view truth_name(Truth truth);

enum class Asks {
  choice,  // which candidate has the largest score?
  tokens,  // of one candidate: is every token of it the likeliest behind those before?
  text,    // of one candidate: does the model write this, and nothing else, up to a line break or the text's end?
};

// One question. All candidates have the same context.
struct ChoiceItem {
  std::vector<Candidate> candidates;
  std::string group;  // items of one kind inside a set; "": the set has none
  Asks asks = Asks::choice;
  int64_t line = 0;  // of the file
};

struct ChoiceFormat {
  std::string_view name;
  std::vector<std::string_view> keys;  // a record with these fields has this format
  ChoiceItem (*read)(const Json& record, const std::string& where);
};

// All formats that are known, the more particular ones first.
const std::vector<ChoiceFormat>& choice_formats();

struct ChoiceSet {
  std::string name;  // of the file, without ending
  std::string format;
  std::vector<ChoiceItem> items;
};

// Reads a .jsonl file; with `most` > 0 at most that many items, spread evenly. InputError with file and line: not JSON,
// fields missing or of another type, a label that names no choice, records of unknown format.
ChoiceSet read_choice_set(const std::filesystem::path& file, int64_t most = 0);

}  // namespace tandem
