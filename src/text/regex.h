// Regular expressions of tokenizer files (Oniguruma's Ruby syntax), run by PCRE2.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Half-open range of bytes.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const TextRange&) const = default;
};

class Regex {
 public:
  // InputError, naming `where`, for a pattern that does not compile or that means something else in PCRE2.
  Regex(std::string_view pattern, const std::string& where);

  // All matches from left to right, none overlapping; an empty match right behind another match does not count.
  // `text` is valid UTF-8. InputError when a match takes more steps than PCRE2's limit.
  std::vector<TextRange> find_all(std::string_view text) const;

  const std::string& pattern() const { return pattern_; }

 private:
  struct Code;
  std::string pattern_;
  std::string where_;
  std::shared_ptr<const Code> code_;
};

// `pattern` with PCRE2's spelling of what Oniguruma means: \s, \S, \w and \W as explicit Unicode classes (PCRE2's \s
// has U+180E and its \w lacks marks), \p with the characters of Unicode 15 and 16. InputError for what PCRE2 cannot say
// (class intersection, nested classes) and for what it would silently read otherwise (\h, \H, the m option).
std::string to_pcre2(std::string_view pattern, const std::string& where);

// Contents of the class of word characters as Unicode Technical Standard 18 has it: Oniguruma's \w with the zero-width
// joiners and without the superscripts and fractions of Latin-1. The library runs some patterns through another engine.
std::string unicode_word_class();

// `text` with every character that is special in a pattern escaped.
std::string escape_regex(std::string_view text);

}  // namespace tandem
