#include "tokenizer_check.h"

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace tandem::app {
namespace {

constexpr size_t kMostFailures = 20;

using Ids = std::vector<int32_t>;

Ids read_ids(const Json& line, const char* key, const std::string& where) {
  const Json& list = json_at(line, key, where);
  bool good = list.is_array();
  Ids ids;
  for (size_t i = 0; good && i < list.size(); ++i) {
    good = list[i].is_number_integer() && list[i] >= INT32_MIN && list[i] <= INT32_MAX;
    if (good) ids.push_back(list[i].get<int32_t>());
  }
  if (!good)
    throw InputError({.what = fmt::format("wrong type of '{}'", key), .where = where, .expected = "token ids"});
  return ids;
}

// One line of the file.
class Case {
 public:
  Case(const Tokenizer& tokenizer, const Json& line, std::string where, int64_t number)
      : tokenizer_(tokenizer), line_(line), where_(std::move(where)), number_(number) {}

  std::vector<CaseFailure> run() {
    if (!line_.is_object()) wrong("a JSON object");
    bool encodes = line_.contains("text");
    bool decodes = line_.contains("ids");
    if (encodes) encode();
    if (decodes) decode();
    if (compared_ == 0) wrong("'text' with 'ids' or 'ids_special', or 'ids' with 'decoded' or 'decoded_skip'");
    return std::move(failures_);
  }

 private:
  [[noreturn]] void wrong(const char* expected) const {
    throw InputError({.what = "nothing to compare", .where = where_, .expected = expected});
  }

  template <class Value>
  void compare(const char* field, const Value& expected, const OrderedJson& got) {
    ++compared_;
    if (OrderedJson(expected) != got) failures_.push_back({"", number_, field, expected, got});
  }

  void encode() {
    std::string text = json_string(line_, "text", where_);
    if (line_.contains("ids")) compare("ids", read_ids(line_, "ids", where_), tokenizer_.encode(text));
    if (line_.contains("ids_special")) {
      compare("ids_special", read_ids(line_, "ids_special", where_), tokenizer_.encode(text, true));
    }
  }

  void decode() {
    Ids ids = read_ids(line_, "ids", where_);
    if (line_.contains("decoded")) compare("decoded", json_string(line_, "decoded", where_), decoded(ids, false));
    if (line_.contains("decoded_skip")) {
      compare("decoded_skip", json_string(line_, "decoded_skip", where_), decoded(ids, true));
    }
  }

  // Ids that the tokenizer does not have are a difference, not a broken case.
  OrderedJson decoded(const Ids& ids, bool skip_special) const {
    try {
      return tokenizer_.decode(ids, skip_special);
    } catch (const InputError& error) {
      return {{"error", error.what()}};
    }
  }

  const Tokenizer& tokenizer_;
  const Json& line_;
  std::string where_;
  int64_t number_;
  int compared_ = 0;
  std::vector<CaseFailure> failures_;
};

}  // namespace

namespace {

void check_file(const Tokenizer& tokenizer, const std::string& path, CaseReport& report) {
  std::string text = read_file(path);
  int64_t number = 0, before = report.cases;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line(text.data() + at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    std::string where = fmt::format("{}:{}", path, number);
    Json parsed = parse_json(line, where);
    auto failures = Case(tokenizer, parsed, where, number).run();
    ++report.cases;
    report.failed += !failures.empty();
    for (CaseFailure& failure : failures) {
      failure.file = path;
      if (report.failures.size() < kMostFailures) report.failures.push_back(std::move(failure));
    }
  }
  if (report.cases == before) {
    throw InputError({.what = "no cases", .where = path, .expected = "one JSON object per line"});
  }
}

}  // namespace

CaseReport check_cases(const Tokenizer& tokenizer, const std::vector<std::string>& paths) {
  CaseReport report{.files = paths};
  for (const std::string& path : paths) check_file(tokenizer, path, report);
  return report;
}

OrderedJson to_json(const CaseReport& report) {
  OrderedJson json;
  json["ok"] = report.failed == 0;
  json["files"] = report.files;
  json["cases"] = report.cases;
  json["failed"] = report.failed;
  json["failures"] = OrderedJson::array();
  for (const CaseFailure& failure : report.failures) {
    OrderedJson item;
    item["file"] = failure.file;
    item["line"] = failure.line;
    item["field"] = failure.field;
    item["expected"] = failure.expected;
    item["got"] = failure.got;
    json["failures"].push_back(std::move(item));
  }
  return json;
}

std::string to_text(const CaseReport& report) {
  std::string out;
  for (const CaseFailure& failure : report.failures) {
    out += fmt::format("{}:{}: {}\n  expected {}\n  got      {}\n", failure.file, failure.line, failure.field,
                       failure.expected.dump(), failure.got.dump());
  }
  return out + fmt::format("{} of {} cases equal\n", report.cases - report.failed, report.cases);
}

}  // namespace tandem::app
