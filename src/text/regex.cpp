#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include "base/error.h"
#include "text/new_categories.h"

namespace tandem {
namespace {

// Contents of classes, without brackets. White_Space as in Unicode; \w as in Unicode Technical Standard 18, and with
// the superscript digits and fractions of Latin-1, which Oniguruma counts among them.
constexpr std::string_view kSpace =
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
constexpr std::string_view kLatinNumbers = "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";

std::string word_members() {
  return fmt::format("\\p{{Alphabetic}}\\p{{M}}\\p{{Nd}}\\p{{Pc}}{}{}{}", new_members("L"), new_members("M"),
                     new_members("Nd"));
}

// Rewrites a pattern from left to right.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& got) const {
    throw InputError({.what = "regular expression is not supported",
                      .where = where_,
                      .got = got,
                      .expected = "a pattern without class intersections, nested classes, \\h, \\H and (?m)"});
  }

  void step() {
    char c = pattern_[at_];
    if (c == '\\') {
      escape();
    } else if (in_class_) {
      class_char(c);
    } else {
      if (c == '[') open_class();
      if (pattern_.substr(at_, 2) == "(?") check_options();
      out_ += c;
      ++at_;
    }
  }

  void open_class() {
    in_class_ = true;
    class_start_ = at_ + (pattern_.substr(at_, 2) == "[^" ? 2 : 1);
  }

  void class_char(char c) {
    if (c == '&' && pattern_.substr(at_, 2) == "&&") refuse("'&&' in a character class");
    if (c == '[') {
      size_t end = pattern_.substr(at_, 2) == "[:" ? pattern_.find(":]", at_) : std::string_view::npos;
      if (end == std::string_view::npos) refuse("'[' in a character class");
      out_ += pattern_.substr(at_, end + 2 - at_);
      at_ = end + 2;
      return;
    }
    if (c == ']' && at_ > class_start_) in_class_ = false;
    out_ += c;
    ++at_;
  }

  // In Ruby's syntax m lets the dot match line breaks; in PCRE2 it moves ^ and $.
  void check_options() const {
    for (size_t i = at_ + 2; i < pattern_.size(); ++i) {
      char c = pattern_[i];
      if (c == 'm') refuse("option m");
      if (c != '-' && c != 'i' && c != 'x') return;
    }
  }

  void escape() {
    char c = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (c == 'h' || c == 'H') refuse(std::string("\\") + c);
    if (c == 's' || c == 'S') return class_escape(c, std::string(kSpace), c == 'S');
    if (c == 'w' || c == 'W') return class_escape(c, word_members() + std::string(kLatinNumbers), c == 'W');
    if ((c == 'p' || c == 'P') && property(c)) return;
    size_t bytes = c == '\0' && at_ + 1 >= pattern_.size() ? 1 : 2;
    out_ += pattern_.substr(at_, bytes);
    at_ = std::min(at_ + 2, pattern_.size());
  }

  void class_escape(char c, const std::string& members, bool negated) {
    if (in_class_ && negated) refuse(fmt::format("\\{} in a character class", c));
    out_ += in_class_ ? members : fmt::format("[{}{}]", negated ? "^" : "", members);
    at_ += 2;
  }

  // \p{Lu} and the like, with the characters that PCRE2 does not know. Of a negation inside a class nothing can be
  // taken away: it stays as it is.
  bool property(char c) {
    size_t end = pattern_.find('}', at_);
    if (pattern_.substr(at_ + 2, 1) != "{" || end == std::string_view::npos) return false;
    std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    bool negated = c == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    std::string added = name.size() <= 2 ? new_members(name) : "";
    if (added.empty() || (in_class_ && negated)) return false;
    std::string members = fmt::format("\\p{{{}}}{}", name, added);
    out_ += in_class_ ? members : fmt::format("[{}{}]", negated ? "^" : "", members);
    at_ = end + 1;
    return true;
  }

  std::string_view pattern_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  size_t class_start_ = 0;
  bool in_class_ = false;
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR8 buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
  pcre2_code* code;
};

std::string unicode_word_class() { return fmt::format("{}\\x{{200C}}\\x{{200D}}", word_members()); }

std::string to_pcre2(std::string_view pattern, const std::string& where) { return Translator(pattern, where).run(); }

std::string escape_regex(std::string_view text) {
  constexpr std::string_view kSpecial = "\\.+*?()|[]{}^$#&-~ \t\n\r\v\f";
  std::string out;
  for (char c : text) {
    if (kSpecial.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

Regex::Regex(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {
  std::string translated = to_pcre2(pattern, where);
  using Context = std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)>;
  Context context(pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // \C could end a match inside a character; callouts and verbs like (*COMMIT) have no counterpart.
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), options, &error,
                                   &offset, context.get());
  if (code == nullptr) {
    throw InputError({.what = "regular expression does not compile",
                      .where = where,
                      .got = fmt::format("'{}'", pattern),
                      .hint = pcre2_message(error)});
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it, matching is only slower
  code_ = std::make_shared<const Code>(code);
}

std::vector<TextRange> Regex::find_all(std::string_view text) const {
  std::vector<TextRange> found;
  MatchData data(pcre2_match_data_create_from_pattern(code_->code, nullptr), pcre2_match_data_free);
  size_t at = 0;
  size_t last_end = std::string_view::npos;
  while (at <= text.size()) {
    auto match = [&](uint32_t options) {
      return pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                         PCRE2_NO_UTF_CHECK | options, data.get(), nullptr);
    };
    int result = match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
      result = match(PCRE2_NO_JIT);  // the interpreter keeps its stack on the heap
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      throw InputError({.what = "regular expression cannot be matched",
                        .where = where_,
                        .got = fmt::format("'{}' on {} bytes of text", pattern_, text.size()),
                        .hint = pcre2_message(result)});
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    TextRange range{ends[0], ends[1]};
    bool empty = range.begin >= range.end;  // \K in a lookahead can put the begin behind the end
    if (!empty || range.end != last_end) found.push_back({std::min(range.begin, range.end), range.end});
    last_end = range.end;
    at = range.end;
    if (empty && at < text.size()) {
      do {
        ++at;
      } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
    } else if (empty) {
      break;
    }
  }
  return found;
}

}  // namespace tandem
