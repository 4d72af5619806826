// Text that comes in pieces, cut into lines, and records out of lines of JSON.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/json_fwd.h"
#include "formats/compressed.h"

namespace tandem {

// Lines end in LF and nothing else: strings of JSON may hold any other line end.
class LineReader {
 public:
  // `line` without its LF; `number` from 1. The view is valid during the call only.
  using Visit = std::function<void(std::string_view line, int64_t number)>;

  explicit LineReader(Visit visit) : visit_(std::move(visit)) {}
  void push(std::string_view piece);
  void finish();  // the last line may lack its LF

 private:
  Visit visit_;
  std::string begun_;  // the beginning of a line whose end has not come
  int64_t number_ = 0;
};

// Finds the first byte that is not UTF-8 in text that comes in pieces.
class Utf8Scan {
 public:
  // False from the first bad byte on.
  bool push(std::string_view piece);
  bool finish();  // a character may have been cut off

  uint64_t valid_bytes() const { return valid_; }  // before the bad byte
  int64_t line() const { return line_; }           // of the bad byte, from 1
  unsigned char bad_byte() const { return bad_; }

 private:
  void accept(std::string_view text);
  bool refuse(std::string_view rest);

  std::string waiting_;  // at most 3 bytes: the beginning of a character
  uint64_t valid_ = 0;
  int64_t line_ = 1;
  unsigned char bad_ = 0;
  bool failed_ = false;
};

bool blank_line(std::string_view line);  // nothing but spaces, tabs and CR

// "path:line", as errors name it.
std::string line_place(const std::filesystem::path& path, int64_t number);

// The JSON object of a line. InputError naming file and line; `expected` says what an object should hold.
Json parse_record(std::string_view line, int64_t number, const std::filesystem::path& path,
                  const std::string& expected);

}  // namespace tandem
