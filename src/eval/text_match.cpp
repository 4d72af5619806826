#include "eval/text_match.h"

#include <utf8proc.h>

#include <algorithm>
#include <map>

#include "text/unicode.h"

namespace tandem {
namespace {

// Harmonic mean of common / written and common / expected.
double f_score(size_t common, size_t written, size_t expected) {
  if (written == 0 && expected == 0) return 1;
  return 2 * static_cast<double>(common) / static_cast<double>(written + expected);
}

}  // namespace

std::vector<std::string> match_words(std::string_view text) {
  const CharClasses& classes = CharClasses::get();
  std::vector<std::string> words;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    uint32_t c = next_code_point(text, at);
    bool counts = (classes.of(c) & (kLetter | kNumber)) != 0;
    if (counts && !inside) words.emplace_back();
    if (counts) append_code_point(words.back(), static_cast<uint32_t>(utf8proc_tolower(static_cast<int32_t>(c))));
    inside = counts;
  }
  return words;
}

bool exact_match(const std::vector<std::string>& written, const std::vector<std::string>& expected) {
  return written == expected;
}

double word_f1(const std::vector<std::string>& written, const std::vector<std::string>& expected) {
  std::map<std::string, int64_t> open;
  for (const std::string& word : expected) ++open[word];
  size_t common = 0;
  for (const std::string& word : written) {
    auto found = open.find(word);
    if (found == open.end() || found->second == 0) continue;
    --found->second;
    ++common;
  }
  return f_score(common, written.size(), expected.size());
}

double rouge_l(const std::vector<std::string>& written, const std::vector<std::string>& expected) {
  // longest[j]: of the words so far of `written` and the first j of `expected`.
  std::vector<size_t> longest(expected.size() + 1, 0);
  for (const std::string& word : written) {
    size_t diagonal = 0;
    for (size_t j = 0; j < expected.size(); ++j) {
      size_t above = longest[j + 1];
      longest[j + 1] = word == expected[j] ? diagonal + 1 : std::max(above, longest[j]);
      diagonal = above;
    }
  }
  return f_score(longest.back(), written.size(), expected.size());
}

}  // namespace tandem
