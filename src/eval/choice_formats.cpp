#include "eval/choice_formats.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/trimmed.h"

namespace tandem {
namespace {

// Small parts ---------------------------------------------------------------------------------------------------------

const std::string& text_at(const Json& record, const char* key, const std::string& where) {
  const Json& value = json_at(record, key, where);
  if (!value.is_string()) {
    throw InputError({.what = fmt::format("field '{}'", key),
                      .where = where,
                      .got = std::string(value.type_name()),
                      .expected = "text"});
  }
  return value.get_ref<const std::string&>();
}

std::vector<std::string> texts_at(const Json& record, const char* key, const std::string& where) {
  const Json& list = json_at(record, key, where);
  bool texts = list.is_array() && list.size() >= 2 &&
               std::all_of(list.begin(), list.end(), [](const Json& v) { return v.is_string(); });
  if (!texts) {
    throw InputError({.what = fmt::format("field '{}'", key),
                      .where = where,
                      .got = std::string(list.type_name()),
                      .expected = "a list of two texts or more"});
  }
  return list.get<std::vector<std::string>>();
}

[[noreturn]] void no_such_choice(const char* key, const std::string& got, const std::string& where) {
  throw InputError({.what = fmt::format("field '{}' names no choice", key), .where = where, .got = got});
}

size_t index_at(const Json& record, const char* key, size_t choices, int64_t first, const std::string& where) {
  int64_t label = json_int(record, key, where) - first;
  if (label < 0 || label >= static_cast<int64_t>(choices)) no_such_choice(key, std::to_string(label + first), where);
  return static_cast<size_t>(label);
}

std::string with_replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::vector<std::string> split(const std::string& text, std::string_view separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t at = text.find(separator); at != std::string::npos; at = text.find(separator, begin)) {
    parts.push_back(trimmed(text.substr(begin, at - begin)));
    begin = at + separator.size();
  }
  parts.push_back(trimmed(text.substr(begin)));
  std::erase(parts, "");
  return parts;
}

// ` ending` after the same context, one of them right.
ChoiceItem choice_of(const std::string& context, const std::vector<std::string>& endings, size_t right) {
  ChoiceItem item;
  for (size_t i = 0; i < endings.size(); ++i) {
    item.candidates.push_back({context, " " + endings[i], i == right ? Truth::right : Truth::wrong});
  }
  return item;
}

// The formats ---------------------------------------------------------------------------------------------------------

// {"context", "choices", "answer"}: our own, for sets that users make. The answer counts from 0, and nothing is added:
// a space between context and choice is the choice's first character.
ChoiceItem read_plain(const Json& record, const std::string& where) {
  std::vector<std::string> choices = texts_at(record, "choices", where);
  size_t right = index_at(record, "answer", choices.size(), 0, where);
  ChoiceItem item;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (choices[i].empty()) throw InputError({.what = "empty choice", .where = where});
    item.candidates.push_back(
        {text_at(record, "context", where), choices[i], i == right ? Truth::right : Truth::wrong});
  }
  if (record.contains("group")) item.group = text_at(record, "group", where);
  return item;
}

ChoiceItem read_hellaswag(const Json& record, const std::string& where) {
  std::vector<std::string> endings = texts_at(record, "endings", where);
  return choice_of(text_at(record, "ctx", where), endings, index_at(record, "label", endings.size(), 0, where));
}

ChoiceItem read_piqa(const Json& record, const std::string& where) {
  return choice_of(fmt::format("Question: {}\nAnswer:", text_at(record, "goal", where)),
                   {text_at(record, "sol1", where), text_at(record, "sol2", where)},
                   index_at(record, "label", 2, 0, where));
}

ChoiceItem read_copa(const Json& record, const std::string& where) {
  std::string premise = trimmed(text_at(record, "p", where));
  if (premise.ends_with('.')) premise.pop_back();
  const std::string& asks = text_at(record, "asks_for", where);
  if (asks != "cause" && asks != "effect") {
    throw InputError({.what = "field 'asks_for'", .where = where, .got = asks, .expected = "cause or effect"});
  }
  std::vector<std::string> alternatives{text_at(record, "a1", where), text_at(record, "a2", where)};
  for (std::string& text : alternatives) {
    if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  }
  return choice_of(premise + (asks == "cause" ? " because" : " therefore"), alternatives,
                   index_at(record, "most_plausible_alternative", 2, 1, where));
}

ChoiceItem read_blimp(const Json& record, const std::string& where) {
  ChoiceItem item;
  item.candidates = {{"", text_at(record, "sentence_good", where), Truth::right},
                     {"", text_at(record, "sentence_bad", where), Truth::wrong}};
  item.group = text_at(record, "UID", where);
  return item;
}

// The last word of a passage.
ChoiceItem read_lambada(const Json& record, const std::string& where) {
  std::string text = trimmed(text_at(record, "text", where));
  size_t space = text.find_last_of(" \n");
  if (space == std::string::npos) {
    throw InputError({.what = "field 'text'", .where = where, .got = "a single word", .expected = "two or more"});
  }
  return {.candidates = {{trimmed(text.substr(0, space)), " " + text.substr(space + 1), Truth::right}},
          .asks = Asks::tokens};
}

ChoiceItem read_truthfulqa(const Json& record, const std::string& where) {
  std::string context = fmt::format("Q: {}\nA:", text_at(record, "Question", where));
  std::string best = trimmed(text_at(record, "Best Answer", where));
  ChoiceItem item;
  item.candidates.push_back({context, " " + best, Truth::right});
  for (const std::string& answer : split(text_at(record, "Correct Answers", where), "; ")) {
    if (answer != best) item.candidates.push_back({context, " " + answer, Truth::also_right});
  }
  for (const std::string& answer : split(text_at(record, "Incorrect Answers", where), "; ")) {
    item.candidates.push_back({context, " " + answer, Truth::wrong});
  }
  return item;
}

struct Pronouns {
  std::string nominative, possessive, accusative;
};

std::string filled(const Json& record, const Pronouns& pronouns, const std::string& where) {
  std::string text = text_at(record, "sentence", where);
  text = with_replaced(text, "$OCCUPATION", text_at(record, "occupation(0)", where));
  text = with_replaced(text, "$PARTICIPANT", text_at(record, "other-participant(1)", where));
  text = with_replaced(text, "$NOM_PRONOUN", pronouns.nominative);
  text = with_replaced(text, "$POSS_PRONOUN", pronouns.possessive);
  return with_replaced(text, "$ACC_PRONOUN", pronouns.accusative);
}

// The pronoun is replaced by each of the two noun phrases; beside that the sentences with "he" and with "she".
ChoiceItem read_winogender(const Json& record, const std::string& where) {
  const std::string& answer = text_at(record, "answer", where);
  if (answer != "0" && answer != "1") no_such_choice("answer", answer, where);
  ChoiceItem item;
  const std::array<const char*, 2> slots{"occupation(0)", "other-participant(1)"};
  for (size_t i = 0; i < 2; ++i) {
    std::string phrase = "the " + text_at(record, slots[i], where);
    item.candidates.push_back({"", filled(record, {phrase, phrase + "'s", phrase}, where),
                               answer == std::to_string(i) ? Truth::right : Truth::wrong});
  }
  item.candidates.push_back({"", filled(record, {"he", "his", "him"}, where), Truth::first_form});
  item.candidates.push_back({"", filled(record, {"she", "her", "her"}, where), Truth::second_form});
  return item;
}

ChoiceItem read_numersense(const Json& record, const std::string& where) {
  constexpr std::array<const char*, 12> kNumbers{"no",   "zero", "one",   "two",   "three", "four",
                                                 "five", "six",  "seven", "eight", "nine",  "ten"};
  const std::string& sentence = text_at(record, "sentence", where);
  const std::string& answer = text_at(record, "answer", where);
  ChoiceItem item;
  bool known = false;
  for (const char* number : kNumbers) {
    known = known || answer == number;
    item.candidates.push_back(
        {"", with_replaced(sentence, "<mask>", number), answer == number ? Truth::right : Truth::wrong});
  }
  if (!known) no_such_choice("answer", answer, where);
  return item;
}

// Options are "A)text"; `correct` is the letter.
ChoiceItem read_aqua(const Json& record, const std::string& where) {
  std::vector<std::string> options = texts_at(record, "options", where);
  const std::string& letter = text_at(record, "correct", where);
  auto right =
      std::find_if(options.begin(), options.end(), [&](const std::string& o) { return o.starts_with(letter + ")"); });
  if (right == options.end()) no_such_choice("correct", letter, where);
  return choice_of(fmt::format("Question: {}\nAnswer:", text_at(record, "question", where)), options,
                   static_cast<size_t>(right - options.begin()));
}

// The labels of a task's options: "(A)" of "(A) 12/11/1937", or what follows "- ".
std::vector<std::string> option_labels(const std::string& input) {
  std::vector<std::string> labels;
  size_t begin = input.find("Options:");
  if (begin == std::string::npos) return labels;
  for (const std::string& line : split(input.substr(begin), "\n")) {
    if (line.starts_with("(") && line.find(')') != std::string::npos)
      labels.push_back(line.substr(0, line.find(')') + 1));
    if (line.starts_with("- ")) labels.push_back(trimmed(line.substr(2)));
  }
  return labels;
}

ChoiceItem read_bbh(const Json& record, const std::string& where) {
  const std::string& input = text_at(record, "input", where);
  std::string target = trimmed(text_at(record, "target", where));
  std::string context = fmt::format("Q: {}\nA:", input);
  std::vector<std::string> labels = option_labels(input);
  ChoiceItem item;
  if (labels.empty()) {
    item.candidates.push_back({context, " " + target, Truth::right});
    item.asks = Asks::text;
  } else {
    auto right = std::find(labels.begin(), labels.end(), target);
    if (right == labels.end()) no_such_choice("target", target, where);
    item = choice_of(context, labels, static_cast<size_t>(right - labels.begin()));
  }
  item.group = text_at(record, "task", where);
  return item;
}

const ChoiceFormat& format_of(const Json& record, const std::string& where) {
  if (record.is_object()) {
    for (const ChoiceFormat& format : choice_formats()) {
      bool all = std::all_of(format.keys.begin(), format.keys.end(),
                             [&](std::string_view key) { return record.contains(std::string(key)); });
      if (all) return format;
    }
  }
  std::string known;
  for (const ChoiceFormat& format : choice_formats()) {
    known += fmt::format("{}{} ({})", known.empty() ? "" : "; ", format.name, fmt::join(format.keys, ", "));
  }
  throw InputError(
      {.what = "record of no known format", .where = where, .got = record.dump().substr(0, 80), .expected = known});
}

}  // namespace

std::string_view truth_name(Truth truth) {
  switch (truth) {
    case Truth::right: return "right";
    case Truth::also_right: return "also_right";
    case Truth::wrong: return "wrong";
    case Truth::first_form: return "first_form";
    case Truth::second_form: return "second_form";
  }
  return "";
}

const std::vector<ChoiceFormat>& choice_formats() {
  static const std::vector<ChoiceFormat> formats{
      {"choice", {"context", "choices", "answer"}, read_plain},
      {"hellaswag", {"ctx", "endings", "label"}, read_hellaswag},
      {"piqa", {"goal", "sol1", "sol2", "label"}, read_piqa},
      {"copa", {"p", "a1", "a2", "asks_for", "most_plausible_alternative"}, read_copa},
      {"blimp", {"sentence_good", "sentence_bad", "UID"}, read_blimp},
      {"truthfulqa", {"Question", "Best Answer", "Correct Answers", "Incorrect Answers"}, read_truthfulqa},
      {"winogender", {"occupation(0)", "other-participant(1)", "answer", "sentence"}, read_winogender},
      {"numersense", {"sentence", "answer"}, read_numersense},
      {"aqua", {"question", "options", "correct"}, read_aqua},
      {"bbh", {"task", "input", "target"}, read_bbh},
      {"lambada", {"text"}, read_lambada},
  };
  return formats;
}

ChoiceSet read_choice_set(const std::filesystem::path& file, int64_t most) {
  std::string text = read_file(file);
  ChoiceSet set;
  set.name = file.stem().string();
  const ChoiceFormat* format = nullptr;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (line.empty()) continue;
    std::string where = fmt::format("{}:{}", file.string(), number);
    Json record = parse_json(line, where);
    if (!format) format = &format_of(record, where);
    set.items.push_back(format->read(record, where));
    set.items.back().line = number;
  }
  if (!format) throw InputError({.what = "no questions", .where = file.string(), .got = "an empty file"});
  set.format = format->name;
  if (most > 0 && static_cast<int64_t>(set.items.size()) > most) {
    auto count = static_cast<int64_t>(set.items.size());
    std::vector<ChoiceItem> chosen;
    for (int64_t i = 0; i < most; ++i) chosen.push_back(std::move(set.items[static_cast<size_t>(i * count / most)]));
    set.items = std::move(chosen);
  }
  return set;
}

}  // namespace tandem
