#include "data/json_lines.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "text/unicode.h"

namespace tandem {

void LineReader::push(std::string_view piece) {
  for (size_t end = piece.find('\n'); end != std::string_view::npos; end = piece.find('\n')) {
    if (begun_.empty()) {
      visit_(piece.substr(0, end), ++number_);
    } else {
      begun_ += piece.substr(0, end);
      visit_(begun_, ++number_);
      begun_.clear();
    }
    piece.remove_prefix(end + 1);
  }
  begun_ += piece;
}

void LineReader::finish() {
  if (!begun_.empty()) visit_(begun_, ++number_);
  begun_.clear();
}

void Utf8Scan::accept(std::string_view text) {
  valid_ += text.size();
  line_ += std::count(text.begin(), text.end(), '\n');
}

bool Utf8Scan::refuse(std::string_view rest) {
  bad_ = static_cast<unsigned char>(rest.front());
  failed_ = true;
  return false;
}

bool Utf8Scan::push(std::string_view piece) {
  constexpr size_t kLongest = 4;
  if (failed_) return false;
  // A character that was cut: the bytes that can belong to it are looked at together.
  while (!waiting_.empty() && !piece.empty()) {
    waiting_ += piece.front();
    piece.remove_prefix(1);
    if (valid_utf8_prefix(waiting_) == waiting_.size()) {
      accept(waiting_);
      waiting_.clear();
    } else if (waiting_.size() == kLongest) {
      return refuse(waiting_);
    }
  }
  size_t valid = valid_utf8_prefix(piece);
  accept(piece.substr(0, valid));
  piece.remove_prefix(valid);
  if (piece.size() >= kLongest) return refuse(piece);
  waiting_ += piece;  // may be cut, or wrong: what comes next tells
  return true;
}

bool Utf8Scan::finish() { return !failed_ && (waiting_.empty() || refuse(waiting_)); }

bool blank_line(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

std::string line_place(const std::filesystem::path& path, int64_t number) {
  return fmt::format("{}:{}", path.string(), number);
}

Json parse_record(std::string_view line, int64_t number, const std::filesystem::path& path,
                  const std::string& expected) {
  Json record;
  try {
    record = parse_json(line, "the line");
  } catch (const InputError& error) {
    throw InputError({.what = "bad JSONL record", .where = line_place(path, number), .hint = error.what()});
  }
  if (!record.is_object()) {
    throw InputError(
        {.what = "bad JSONL record", .where = line_place(path, number), .expected = "a JSON object with " + expected});
  }
  return record;
}

}  // namespace tandem
