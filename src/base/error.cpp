#include "base/error.h"

#include <string_view>

namespace tandem {
namespace {

constexpr size_t kLongestPart = 400;

std::string printable(std::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    if (out.size() >= kLongestPart) {
      // Do not cut a UTF-8 sequence in two.
      while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80) out.pop_back();
      if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();
      return out + "...";
    }
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

}  // namespace

std::string one_line(const Problem& problem) {
  std::string line = printable(problem.what);
  if (!problem.where.empty()) line += ": " + printable(problem.where);
  if (!problem.got.empty()) line += ": got " + printable(problem.got);
  if (!problem.expected.empty()) {
    line += (problem.got.empty() ? ": expected " : ", expected ") + printable(problem.expected);
  }
  if (!problem.hint.empty()) line += "; " + printable(problem.hint);
  return line;
}

}  // namespace tandem
