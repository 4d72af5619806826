#include "text/word_splitter.h"

#include "text/unicode.h"

namespace tandem {

const std::string_view kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// The published pattern is the same but for the digits.
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Reads characters with their classes.
class Scanner {
 public:
  Scanner(std::string_view text, size_t at) : classes_(CharClasses::get()), text_(text), at_(at) {}

  bool done() const { return at_ >= text_.size(); }
  size_t position() const { return at_; }
  // Class of the character at the position; `next` is the position behind it.
  uint8_t peek(size_t& next) const {
    next = at_;
    return classes_.of(next_code_point(text_, next));
  }
  void move_to(size_t at) { at_ = at; }
  bool at_line_break() const { return !done() && (text_[at_] == '\n' || text_[at_] == '\r'); }

  // Skips characters of one class, at most `most` of them when that is not 0.
  void skip(uint8_t cls, int most = 0) {
    for (int count = 0; !done() && (most == 0 || count < most); ++count) {
      size_t next;
      if (peek(next) != cls) return;
      at_ = next;
    }
  }

 private:
  const CharClasses& classes_;
  std::string_view text_;
  size_t at_;
};

// Length of 's 't 're 've 'm 'll 'd at `at`, which holds an apostrophe; 0 when there is none.
size_t contraction(std::string_view text, size_t at) {
  char a = at + 1 < text.size() ? text[at + 1] : '\0';
  char b = at + 2 < text.size() ? text[at + 2] : '\0';
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  return 0;
}

size_t contraction_of_any_case(std::string_view text, size_t at) {
  // U+017F, the long s, is an s when case is ignored.
  if (text.substr(at + 1, 2) == "\xC5\xBF") return 3;
  char lower[3] = {'\'', 0, 0};
  for (size_t i = 1; i < 3 && at + i < text.size(); ++i) {
    char c = text[at + i];
    lower[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return contraction(std::string_view(lower, 3), 0);
}

// \s+(?!\S)|\s+ at a whitespace character: the whole run at the end of the text, else all but its last character,
// but at least one.
size_t whitespace(std::string_view text, size_t at) {
  Scanner scan(text, at);
  scan.skip(kWhitespace);
  size_t end = scan.position();
  if (end == text.size()) return end - at;
  size_t last = previous_start(text, end);
  return (last > at ? last : end) - at;
}

}  // namespace

size_t gpt2_word(std::string_view text, size_t at) {
  if (text[at] == '\'') {
    if (size_t length = contraction(text, at)) return length;
  }
  Scanner scan(text, at);
  size_t next;
  uint8_t cls = scan.peek(next);
  if (cls == kWhitespace) {
    if (text[at] != ' ' || next == text.size()) return whitespace(text, at);
    Scanner behind(text, next);
    size_t unused;
    cls = behind.peek(unused);
    if (cls == kWhitespace) return whitespace(text, at);
    scan.move_to(next);
  }
  scan.skip(cls);
  return scan.position() - at;
}

size_t llama3_word(std::string_view text, size_t at, int most_digits) {
  if (text[at] == '\'') {
    if (size_t length = contraction_of_any_case(text, at)) return length;
  }
  Scanner scan(text, at);
  bool line_break = scan.at_line_break();
  size_t next;
  uint8_t cls = scan.peek(next);
  if (cls == kNumber) {
    scan.skip(kNumber, most_digits);
    return scan.position() - at;
  }
  if (cls == kLetter) {
    scan.skip(kLetter);
    return scan.position() - at;
  }
  scan.move_to(next);
  size_t unused;
  uint8_t following = scan.done() ? uint8_t{kWhitespace} : scan.peek(unused);
  if (!line_break && following == kLetter) {
    scan.skip(kLetter);
    return scan.position() - at;
  }
  if (cls == kOther || (text[at] == ' ' && following == kOther)) {
    scan.skip(kOther);
    while (scan.at_line_break()) scan.move_to(scan.position() + 1);
    return scan.position() - at;
  }
  // Whitespace: \s*[\r\n]+ ends behind the last line break of the run.
  scan.move_to(at);
  scan.skip(kWhitespace);
  size_t last_break = text.substr(at, scan.position() - at).find_last_of("\r\n");
  return last_break != std::string_view::npos ? last_break + 1 : whitespace(text, at);
}

WordSplitter WordSplitter::gpt2() { return {}; }

WordSplitter WordSplitter::whitespace() {
  WordSplitter splitter;
  splitter.kind_ = Kind::whitespace;
  return splitter;
}

WordSplitter WordSplitter::literal(std::string_view characters) {
  WordSplitter splitter;
  splitter.kind_ = Kind::literal;
  splitter.literal_ = characters;
  return splitter;
}

WordSplitter WordSplitter::for_pattern(std::string_view pattern, const std::string& where) {
  WordSplitter splitter;
  if (pattern == kGpt2Pattern) return splitter;
  if (pattern == kLlama3Pattern || pattern == kQwenPattern) {
    splitter.kind_ = Kind::llama3;
    splitter.most_digits_ = pattern == kLlama3Pattern ? 3 : 1;
    return splitter;
  }
  splitter.kind_ = Kind::regex;
  splitter.regex_.emplace(pattern, where);
  return splitter;
}

std::vector<TextRange> WordSplitter::find_all(std::string_view text) const {
  std::vector<TextRange> found;
  for_each(text, [&](const TextRange& range) { found.push_back(range); });
  return found;
}

}  // namespace tandem
