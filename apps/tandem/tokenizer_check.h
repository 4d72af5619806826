// Compares a tokenizer with recorded cases, one JSON object per line. Fields of a case: "text" and "ids" (without
// added tokens), "ids_special" (with those of the post-processor), "decoded" and "decoded_skip" (special tokens left
// out) of "ids". What a line records is compared, what it leaves out is not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace tandem::app {

struct CaseFailure {
  std::string file;
  int64_t line = 0;  // from 1
  std::string field;
  OrderedJson expected, got;
};

struct CaseReport {
  std::vector<std::string> files;
  int64_t cases = 0;
  int64_t failed = 0;                 // cases with a difference
  std::vector<CaseFailure> failures;  // the first of them
};

// InputError, with file and line, for a line that is not such a case, and for a file without cases.
CaseReport check_cases(const Tokenizer& tokenizer, const std::vector<std::string>& paths);

OrderedJson to_json(const CaseReport& report);
std::string to_text(const CaseReport& report);

}  // namespace tandem::app
