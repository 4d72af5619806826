#include "infer/grammar_reader.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "text/unicode.h"

namespace tandem {
namespace {

class GrammarReader {
 public:
  GrammarReader(std::string_view text, const std::string& where) : text_(text), where_(where), grammar_(where) {}

  Grammar read() {
    require_utf8(text_, where_);
    rule("root", 0);
    skip(/*lines=*/true);
    while (at_ < text_.size()) read_rule();
    refuse_unknown_rules();
    return std::move(grammar_);
  }

 private:
  using Expression = Grammar::Expression;

  static constexpr int kDeepest = 200;
  static constexpr int kMostRepetitions = 3;  // of one part: a*+? makes no sense
  static constexpr int64_t kMostRepeats = 1'000'000;

  struct Entry {
    Grammar::RuleId id;
    size_t used_at;  // first
  };

  [[noreturn]] void refuse(const std::string& what, const std::string& got, const std::string& expected) const {
    std::string_view before = text_.substr(0, at_);
    auto line = 1 + std::count(before.begin(), before.end(), '\n');
    size_t begin = before.rfind('\n') + 1;  // npos + 1: 0
    throw InputError({.what = what,
                      .where = fmt::format("{}:{}:{}", where_, line, at_ - begin + 1),
                      .got = got,
                      .expected = expected});
  }
  [[noreturn]] void refuse_here(const std::string& expected) const {
    size_t end = at_;
    if (at_ < text_.size()) next_code_point(text_, end);
    std::string_view here = text_.substr(at_, end - at_);
    std::string got = here.empty() ? "the end" : here == "\n" ? "the end of the line" : fmt::format("'{}'", here);
    refuse("bad grammar", got, expected);
  }

  // Names the first that is used.
  void refuse_unknown_rules() {
    const std::string* unknown = nullptr;
    for (const auto& [name, entry] : rules_) {
      bool defined = grammar_.rules()[static_cast<size_t>(entry.id)].body >= 0;
      if (!defined && (unknown == nullptr || entry.used_at < rules_.at(*unknown).used_at)) unknown = &name;
    }
    if (unknown == nullptr) return;
    at_ = rules_.at(*unknown).used_at;
    refuse("rule that is not defined", "'" + *unknown + "'", "");
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  void skip(bool lines) {
    while (at_ < text_.size()) {
      if (peek() == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (peek() == ' ' || peek() == '\t' || (lines && (peek() == '\n' || peek() == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  static bool in_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  }
  std::string read_name() {
    size_t begin = at_;
    while (in_name(peek())) ++at_;
    if (at_ == begin) refuse_here("the name of a rule");
    return std::string(text_.substr(begin, at_ - begin));
  }

  Grammar::RuleId rule(const std::string& name, size_t used_at) {
    auto [entry, fresh] = rules_.try_emplace(name, Entry{0, used_at});
    if (fresh) entry->second.id = grammar_.add_rule("rule '" + name + "'");
    return entry->second.id;
  }

  void read_rule() {
    size_t begin = at_;
    std::string name = read_name();
    Grammar::RuleId id = rule(name, begin);
    skip(false);
    if (text_.substr(at_, 3) != "::=") refuse_here("'::='");
    if (grammar_.rules()[static_cast<size_t>(id)].body >= 0) {
      at_ = begin;
      refuse("rule defined twice", "'" + name + "'", "");
    }
    at_ += 3;
    skip(true);
    grammar_.define(id, read_alternatives(0));
    if (at_ < text_.size() && peek() != '\n' && peek() != '\r') refuse_here("a new line or another part of the rule");
    skip(true);
  }

  Expression read_alternatives(int depth) {
    if (depth > kDeepest) refuse("groups are nested too deeply", "", fmt::format("at most {} levels", kDeepest));
    std::vector<Expression> alternatives{read_sequence(depth)};
    while (true) {
      // A line that begins with | goes on with the rule.
      size_t before = at_;
      skip(true);
      if (!take('|')) {
        if (depth == 0) at_ = before;
        break;
      }
      skip(true);
      alternatives.push_back(read_sequence(depth));
    }
    return alternatives.size() == 1 ? alternatives[0] : grammar_.any_of(std::move(alternatives));
  }

  Expression read_sequence(int depth) {
    std::vector<Expression> parts;
    while (true) {
      skip(depth > 0);
      std::optional<Expression> part = read_part(depth);
      if (!part) return parts.size() == 1 ? parts[0] : grammar_.sequence(std::move(parts));
      parts.push_back(read_repeats(*part));
    }
  }

  std::optional<Expression> read_part(int depth) {
    if (in_name(peek())) {
      size_t begin = at_;
      std::string name = read_name();
      return grammar_.call(rule(name, begin));
    }
    if (take('"')) return read_literal();
    if (take('[')) return read_set();
    if (take('.')) return grammar_.character(0, kLastCodePoint);
    if (!take('(')) return {};
    Expression group = read_alternatives(depth + 1);
    if (!take(')')) refuse_here("')'");
    return group;
  }

  Expression read_repeats(Expression part) {
    for (int count = 0;; ++count) {
      if (count > kMostRepetitions) refuse("too many repetitions of one part", "", "");
      if (take('*')) {
        part = grammar_.repeat(part, 0);
      } else if (take('+')) {
        part = grammar_.repeat(part, 1);
      } else if (take('?')) {
        part = grammar_.optional(part);
      } else if (take('{')) {
        part = read_counts(part);
      } else {
        return part;
      }
    }
  }

  Expression read_counts(Expression part) {
    skip(false);
    int64_t least = read_count(), most = least;
    skip(false);
    if (take(',')) {
      skip(false);
      most = peek() == '}' ? Grammar::kUnlimited : read_count();
      skip(false);
    }
    if (!take('}')) refuse_here("'}'");
    if (most != Grammar::kUnlimited && most < least)
      refuse("bad repetition", fmt::format("{{{},{}}}", least, most), "");
    return grammar_.repeat(part, least, most);
  }

  int64_t read_count() {
    if (peek() < '0' || peek() > '9') refuse_here("a number");
    int64_t count = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      count = count * 10 + (peek() - '0');
      if (count > kMostRepeats) refuse("too many repetitions", "", fmt::format("at most {}", kMostRepeats));
    }
    return count;
  }

  Expression read_literal() {
    std::string bytes;
    while (!take('"')) {
      if (at_ == text_.size() || peek() == '\n') refuse_here("'\"' at the end of the literal");
      append_code_point(bytes, read_character());
    }
    return grammar_.literal(bytes);
  }

  Expression read_set() {
    bool outside = take('^');
    std::vector<CodeRange> ranges;
    while (!take(']')) {
      if (at_ == text_.size() || peek() == '\n') refuse_here("']' at the end of the set");
      size_t begin = at_;
      uint32_t first = read_character(), last = first;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        last = read_character();
      }
      if (last < first) {
        at_ = begin;
        refuse("bad range in a set", "", "the smaller character first");
      }
      ranges.push_back({first, last});
    }
    CodeSet set = make_code_set(std::move(ranges));
    return grammar_.characters(outside ? complement(set) : std::move(set));
  }

  // A character or an escape.
  uint32_t read_character() {
    if (!take('\\')) return next_code_point(text_, at_);
    char c = peek();
    if (at_ < text_.size()) ++at_;
    switch (c) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'x': return read_hex(2);
      case 'u': return read_hex(4);
      case 'U': return read_hex(8);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '^':
      case '-': return static_cast<uint32_t>(c);
      default: break;
    }
    --at_;
    refuse_here("one of n r t x u U \\ \" [ ] ^ - behind '\\'");
  }

  uint32_t read_hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      char c = peek();
      int digit = c >= '0' && c <= '9'   ? c - '0'
                  : c >= 'a' && c <= 'f' ? c - 'a' + 10
                  : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                         : -1;
      if (digit < 0) refuse_here(fmt::format("{} hexadecimal digits", digits));
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    if (value > kLastCodePoint || (value >= 0xD800 && value <= 0xDFFF)) {
      refuse("no character", fmt::format("U+{:04X}", value), "");
    }
    return value;
  }

  std::string_view text_;
  const std::string& where_;
  Grammar grammar_;
  std::unordered_map<std::string, Entry> rules_;
  size_t at_ = 0;
};

}  // namespace

Grammar read_grammar(std::string_view text, const std::string& where) { return GrammarReader(text, where).read(); }

}  // namespace tandem
