// Finds the parts that a pre-tokenizer's pattern matches. The patterns of the GPT-2 and the Llama 3 family, which match
// every character, have scanners of their own; anything else runs through the regular expression.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/unicode.h"

namespace tandem {

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// Length in bytes of the match at `at`; `text` is valid UTF-8 and at < text.size().
size_t gpt2_word(std::string_view text, size_t at);
extern const std::string_view kGpt2Pattern;

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,M}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// with M = most_digits (the published patterns have 3 or 1).
size_t llama3_word(std::string_view text, size_t at, int most_digits);

class WordSplitter {
 public:
  // Chooses a scanner when the pattern is one that it knows. Errors as Regex.
  static WordSplitter for_pattern(std::string_view pattern, const std::string& where);
  static WordSplitter gpt2();
  static WordSplitter whitespace();                          // each character of White_Space
  static WordSplitter literal(std::string_view characters);  // not empty

  // Matches from left to right.
  std::vector<TextRange> find_all(std::string_view text) const;

  // The same, one after the other. Every match of a scanner begins where the last one ended.
  template <class Visit>
  void for_each(std::string_view text, Visit&& visit) const {
    if (kind_ == Kind::regex) {
      for (const TextRange& range : regex_->find_all(text)) visit(range);
      return;
    }
    if (kind_ == Kind::whitespace) return for_each_space(text, visit);
    if (kind_ == Kind::literal) return for_each_literal(text, visit);
    for (size_t at = 0; at < text.size();) {
      size_t length = kind_ == Kind::gpt2 ? gpt2_word(text, at) : llama3_word(text, at, most_digits_);
      visit(TextRange{at, at + length});
      at += length;
    }
  }

  // Whether the matches cover every text.
  bool covers() const { return kind_ == Kind::gpt2 || kind_ == Kind::llama3; }

 private:
  enum class Kind { regex, gpt2, llama3, whitespace, literal };

  template <class Visit>
  static void for_each_space(std::string_view text, Visit& visit) {
    for (size_t at = 0; at < text.size();) {
      size_t begin = at;
      if (is_whitespace(next_code_point(text, at))) visit(TextRange{begin, at});
    }
  }
  template <class Visit>
  void for_each_literal(std::string_view text, Visit& visit) const {
    for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at)) {
      visit(TextRange{at, at + literal_.size()});
      at += literal_.size();
    }
  }

  Kind kind_ = Kind::gpt2;
  int most_digits_ = 0;
  std::optional<Regex> regex_;
  std::string literal_;
};

}  // namespace tandem
