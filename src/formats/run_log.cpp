#include "formats/run_log.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace tandem {
namespace {

double number_or_nan(const Json& line, const char* key, const std::string& where) {
  auto found = line.find(key);
  if (found == line.end() || found->is_null()) return std::numeric_limits<double>::quiet_NaN();
  return json_number(line, key, where);
}

// A resumed run starts again after its checkpoint: what is there from this step on was written before the stop.
template <class Record>
void append(std::vector<Record>& records, const Record& record) {
  while (!records.empty() && records.back().step >= record.step) records.pop_back();
  records.push_back(record);
}

void parse_line(std::string_view text, const std::string& where, RunLog& log) {
  Json line = parse_json(text, where);
  if (!line.is_object()) {
    throw InputError({.what = "not a line of a run's log", .where = where, .expected = "a JSON object"});
  }
  if (line.contains("loss")) {
    append(log.training, {.step = json_int(line, "step", where),
                          .tokens = json_int(line, "tokens", where),
                          .loss = number_or_nan(line, "loss", where),
                          .learning_rate = number_or_nan(line, "learning_rate", where),
                          .grad_norm = number_or_nan(line, "grad_norm", where),
                          .tokens_per_second = number_or_nan(line, "tokens_per_second", where),
                          .seconds = number_or_nan(line, "seconds", where)});
  }
  if (line.contains("heldout_loss")) {
    append(log.heldout, {.step = json_int(line, "step", where),
                         .tokens = json_int(line, "tokens", where),
                         .loss = number_or_nan(line, "heldout_loss", where),
                         .bits_per_byte = number_or_nan(line, "heldout_bits_per_byte", where),
                         .accuracy = number_or_nan(line, "heldout_accuracy", where)});
  }
}

bool blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

}  // namespace

RunLog parse_run_log(std::string_view text, const std::string& where) {
  RunLog log;
  for (int64_t number = 1; !text.empty(); ++number) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (blank(line)) continue;
    try {
      parse_line(line, fmt::format("{}:{}", where, number), log);
    } catch (const InputError& e) {
      if (text.find_first_not_of(" \t\r\n") != std::string_view::npos) throw;
      log.broken_end = e.what();
    }
  }
  return log;
}

RunLog read_run_log(const std::filesystem::path& path) { return parse_run_log(read_file(path), path.string()); }

}  // namespace tandem
