#include "infer/pattern.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "text/unicode.h"

namespace tandem {
namespace {

using Expression = Grammar::Expression;

const CodeSet& digits() {
  static const CodeSet set = make_code_set({{'0', '9'}});
  return set;
}
const CodeSet& word_characters() {
  static const CodeSet set = make_code_set({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
  return set;
}
// ECMAScript's WhiteSpace and LineTerminator.
const CodeSet& spaces() {
  static const CodeSet set = make_code_set({{'\t', '\r'},
                                            {' ', ' '},
                                            {0xA0, 0xA0},
                                            {0x1680, 0x1680},
                                            {0x2000, 0x200A},
                                            {0x2028, 0x2029},
                                            {0x202F, 0x202F},
                                            {0x205F, 0x205F},
                                            {0x3000, 0x3000},
                                            {0xFEFF, 0xFEFF}});
  return set;
}
const CodeSet& not_line_ends() {
  static const CodeSet set = complement(make_code_set({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
  return set;
}

class PatternReader {
 public:
  PatternReader(std::string_view text, const std::string& where, Grammar& grammar, JsonText& json)
      : text_(text), where_(where), grammar_(grammar), json_(json) {}

  Expression read() {
    std::vector<Expression> alternatives;
    do {
      bool from_start = take('^');
      Expression middle = read_sequence(0);
      bool to_end = take('$');
      if (at_ < text_.size() && peek() != '|') refuse_here("'$' and '^' only at the ends of the pattern");
      std::vector<Expression> parts;
      if (!from_start) parts.push_back(anything());
      parts.push_back(middle);
      if (!to_end) parts.push_back(anything());
      alternatives.push_back(grammar_.sequence(std::move(parts)));
    } while (take('|'));
    return grammar_.any_of(std::move(alternatives));
  }

 private:
  static constexpr int kDeepest = 100;
  static constexpr int64_t kMostRepeats = 1'000'000;

  [[noreturn]] void refuse_here(const std::string& expected) const {
    size_t end = at_;
    if (at_ < text_.size()) next_code_point(text_, end);
    throw InputError({.what = "pattern that is not supported",
                      .where = fmt::format("{}, character {}", where_, at_ + 1),
                      .got = end > at_ ? fmt::format("'{}'", text_.substr(at_, end - at_)) : "the end",
                      .expected = expected});
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ == text_.size() || peek() != c) return false;
    ++at_;
    return true;
  }

  Expression anything() {
    if (anything_ < 0) anything_ = grammar_.repeat(json_.character(), 0);
    return anything_;
  }

  Expression read_alternatives(int depth) {
    if (depth > kDeepest) refuse_here(fmt::format("at most {} nested groups", kDeepest));
    std::vector<Expression> alternatives;
    do {
      alternatives.push_back(read_sequence(depth));
    } while (take('|'));
    return grammar_.any_of(std::move(alternatives));
  }

  Expression read_sequence(int depth) {
    std::vector<Expression> parts;
    while (at_ < text_.size() && peek() != '|' && peek() != ')' && peek() != '$') {
      parts.push_back(read_repeats(read_atom(depth)));
    }
    if (depth == 0 && peek() == ')') refuse_here("'(' before it");
    return grammar_.sequence(std::move(parts));
  }

  Expression read_atom(int depth) {
    if (take('(')) return read_group(depth);
    if (take('[')) return json_.character_of(read_set());
    if (take('.')) return json_.character_of(not_line_ends());
    if (std::string_view("*+?{}]^").find(peek()) != std::string_view::npos) refuse_here("'\\' before it");
    if (take('\\')) return json_.character_of(read_escape());
    uint32_t c = next_code_point(text_, at_);
    return json_.character_of(make_code_set({{c, c}}));
  }

  Expression read_group(int depth) {
    if (take('?')) {
      // Look-around and names that references could use are not regular, or of no use.
      if (!take(':')) refuse_here("'(?:' or a plain group");
    }
    Expression group = read_alternatives(depth + 1);
    if (!take(')')) refuse_here("')'");
    return group;
  }

  Expression read_repeats(Expression part) {
    int64_t least = 1, most = 1;
    if (take('*')) {
      least = 0, most = Grammar::kUnlimited;
    } else if (take('+')) {
      most = Grammar::kUnlimited;
    } else if (take('?')) {
      least = 0;
    } else if (take('{')) {
      least = most = read_count();
      if (take(',')) most = peek() == '}' ? Grammar::kUnlimited : read_count();
      if (!take('}') || (most != Grammar::kUnlimited && most < least)) refuse_here("a repetition such as {2,5}");
    } else {
      return part;
    }
    take('?');
    return grammar_.repeat(part, least, most);
  }

  int64_t read_count() {
    int64_t count = -1;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      count = std::max<int64_t>(count, 0) * 10 + (peek() - '0');
      if (count > kMostRepeats) refuse_here(fmt::format("at most {} repetitions", kMostRepeats));
    }
    if (count < 0) refuse_here("a number");
    return count;
  }

  CodeSet read_set() {
    bool outside = take('^');
    std::vector<CodeRange> ranges;
    while (!take(']')) {
      CodeSet first = read_set_part();
      bool single = first.size() == 1 && first[0].first == first[0].last;
      if (single && peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        CodeSet last = read_set_part();
        bool good = last.size() == 1 && last[0].first == last[0].last && last[0].first >= first[0].first;
        if (!good) refuse_here("a range such as a-z before it");
        first[0].last = last[0].first;
      }
      ranges.insert(ranges.end(), first.begin(), first.end());
    }
    CodeSet set = make_code_set(std::move(ranges));
    return outside ? complement(set) : set;
  }

  CodeSet read_set_part() {
    if (at_ == text_.size()) refuse_here("']'");
    if (take('\\')) {
      if (take('b')) return make_code_set({{'\b', '\b'}});
      if (take('-')) return make_code_set({{'-', '-'}});
      return read_escape();
    }
    uint32_t c = next_code_point(text_, at_);
    return make_code_set({{c, c}});
  }

  // What stands behind a backslash.
  CodeSet read_escape() {
    auto one = [&](uint32_t c) { return make_code_set({{c, c}}); };
    char c = peek();
    constexpr std::string_view kSyntax = "^$\\.*+?()[]{}|/\"'-#@!%&,:;<=>_`~ ";
    if (at_ < text_.size()) ++at_;
    switch (c) {
      case 'd': return digits();
      case 'D': return complement(digits());
      case 'w': return word_characters();
      case 'W': return complement(word_characters());
      case 's': return spaces();
      case 'S': return complement(spaces());
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 't': return one('\t');
      case 'f': return one('\f');
      case 'v': return one('\v');
      case 'x': return one(read_hex(2));
      case 'u': return one(read_hex(4));
      default: break;
    }
    if (c != '\0' && kSyntax.find(c) != std::string_view::npos) return one(static_cast<uint32_t>(c));
    --at_;
    refuse_here("no such escape");
  }

  uint32_t read_hex(int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; ++i, ++at_) {
      size_t digit = std::string_view("0123456789abcdef").find(static_cast<char>(peek() | (peek() >= 'A' ? 0x20 : 0)));
      if (digit == std::string_view::npos || at_ == text_.size())
        refuse_here(fmt::format("{} hexadecimal digits", count));
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    return value;
  }

  std::string_view text_;
  const std::string& where_;
  Grammar& grammar_;
  JsonText& json_;
  size_t at_ = 0;
  Expression anything_ = -1;
};

}  // namespace

Grammar::Expression read_pattern(std::string_view pattern, const std::string& where, Grammar& grammar, JsonText& json) {
  return PatternReader(pattern, where, grammar, json).read();
}

}  // namespace tandem
