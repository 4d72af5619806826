#include "infer/json_text.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace tandem {
namespace {

using Expression = Grammar::Expression;

constexpr int64_t kMostDigits = 16;
constexpr int64_t kDeepestIndent = 40;

// Of the characters that cannot stand in a string as they are.
std::string escape(uint32_t c) {
  switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\b': return "\\b";
    case '\f': return "\\f";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: return fmt::format("\\u{:04x}", c);
  }
}

const CodeSet& plain_characters() {
  static const CodeSet set = complement(make_code_set({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}));
  return set;
}

}  // namespace

template <class Make>
Expression JsonText::rule(Grammar::RuleId& known, const char* name, Make make) {
  if (known < 0) {
    Grammar::RuleId id = known = grammar_->add_rule(name);  // before make(), which may call it
    Expression body = make();
    grammar_->define(id, body);
  }
  return grammar_->call(known);
}

Expression JsonText::space() {
  return rule(space_, "white space", [&] {
    Expression blank = grammar_->literal(" ");
    Expression line = grammar_->sequence({grammar_->literal("\n"), grammar_->repeat(blank, 0, kDeepestIndent)});
    return grammar_->any_of({grammar_->nothing(), blank, line});
  });
}

Expression JsonText::boolean() { return grammar_->any_of({grammar_->literal("true"), grammar_->literal("false")}); }

Expression JsonText::value() {
  return rule(value_, "any value", [&] {
    return grammar_->any_of({null(), boolean(), number({}), any_string(), any_array(), any_object()});
  });
}

Expression JsonText::enclosed(char open, std::optional<Expression> inside, bool may_be_empty, char close) {
  std::vector<Expression> parts{grammar_->literal(std::string(1, open)), space()};
  if (inside) {
    Expression filled = grammar_->sequence({*inside, space()});
    parts.push_back(may_be_empty ? grammar_->optional(filled) : filled);
  }
  parts.push_back(grammar_->literal(std::string(1, close)));
  return grammar_->sequence(std::move(parts));
}

Expression JsonText::member(Expression name, Expression value) {
  return grammar_->sequence({name, grammar_->literal(":"), space(), value});
}

Expression JsonText::any_object() {
  return rule(object_, "any object", [&] {
    Expression one = member(any_string(), value());
    Expression more = grammar_->sequence({grammar_->literal(","), space(), one});
    return enclosed('{', grammar_->sequence({one, grammar_->repeat(more, 0)}), true, '}');
  });
}

Expression JsonText::any_array() {
  return rule(array_, "any array", [&] {
    Expression more = grammar_->sequence({grammar_->literal(","), space(), value()});
    return enclosed('[', grammar_->sequence({value(), grammar_->repeat(more, 0)}), true, ']');
  });
}

Expression JsonText::any_string() {
  return rule(string_, "any string", [&] { return quoted(grammar_->repeat(character(), 0)); });
}

Expression JsonText::quoted(Expression inside) {
  Expression quote = grammar_->literal("\"");
  return grammar_->sequence({quote, inside, quote});
}

Expression JsonText::character() {
  return rule(character_, "character", [&] {
    Grammar& g = *grammar_;
    auto one_of = [&](std::string_view characters) {
      std::vector<CodeRange> ranges;
      for (char c : characters) ranges.push_back({static_cast<uint32_t>(c), static_cast<uint32_t>(c)});
      return g.characters(make_code_set(std::move(ranges)));
    };
    constexpr std::string_view kHex = "0123456789abcdefABCDEF";
    Expression hex = one_of(kHex), u = g.literal("\\u");
    // Four digits that are no surrogate, or a high surrogate and a low one.
    Expression alone = g.any_of({g.sequence({u, one_of("0123456789abcefABCEF"), hex, hex, hex}),
                                 g.sequence({u, one_of("dD"), one_of("01234567"), hex, hex})});
    Expression pair =
        g.sequence({u, one_of("dD"), one_of("89abAB"), hex, hex, u, one_of("dD"), one_of("cdefCDEF"), hex, hex});
    Expression short_escape = g.sequence({g.literal("\\"), one_of("\"\\/bfnrt")});
    return g.any_of({g.characters(plain_characters()), short_escape, alone, pair});
  });
}

Expression JsonText::character_of(const CodeSet& set) {
  std::vector<Expression> ways;
  CodeSet plain = intersection(set, plain_characters());
  if (!plain.empty()) ways.push_back(grammar_->characters(std::move(plain)));
  for (CodeRange range : intersection(set, complement(plain_characters()))) {
    for (uint32_t c = range.first; c <= range.last; ++c) ways.push_back(grammar_->literal(escape(c)));
  }
  return grammar_->any_of(std::move(ways));
}

// Numbers of as many digits as both bounds have.
Expression JsonText::same_length(const std::string& least, const std::string& most) {
  if (least == most) return grammar_->literal(least);
  if (least.size() == 1) return grammar_->character(static_cast<uint32_t>(least[0]), static_cast<uint32_t>(most[0]));
  size_t rest = least.size() - 1;
  std::string zeros(rest, '0'), nines(rest, '9');
  auto digit = [&](char first, char last) {
    return grammar_->character(static_cast<uint32_t>(first), static_cast<uint32_t>(last));
  };
  auto with = [&](char first, const std::string& low, const std::string& high) {
    return grammar_->sequence({digit(first, first), same_length(low, high)});
  };
  if (least[0] == most[0]) return with(least[0], least.substr(1), most.substr(1));
  std::vector<Expression> ways;
  char first = least[0], last = most[0];
  if (least.substr(1) != zeros) ways.push_back(with(first++, least.substr(1), nines));
  if (most.substr(1) != nines) ways.push_back(with(last--, zeros, most.substr(1)));
  auto count = static_cast<int64_t>(rest);
  if (first <= last) ways.push_back(grammar_->sequence({digit(first, last), digits(count, count)}));
  return grammar_->any_of(std::move(ways));
}

// Integers without a sign.
Expression JsonText::magnitudes(uint64_t least, std::optional<uint64_t> most) {
  std::vector<Expression> ways;
  std::string low = std::to_string(least), high = most ? std::to_string(*most) : "";
  size_t longest = most ? high.size() : std::max(low.size(), static_cast<size_t>(kMostDigits));
  for (size_t length = low.size(); length <= longest; ++length) {
    std::string from = length == low.size() ? low : "1" + std::string(length - 1, '0');
    std::string to = most && length == high.size() ? high : std::string(length, '9');
    if (from <= to) ways.push_back(same_length(from, to));
  }
  return grammar_->any_of(std::move(ways));
}

// Numbers without a sign and exponent, between integer bounds.
Expression JsonText::fractions(uint64_t least, bool without_least, std::optional<uint64_t> most, bool without_most) {
  Grammar& g = *grammar_;
  std::vector<Expression> ways;
  if (most && *most < least) return g.any_of({});
  Expression point = g.literal("."), zeros = g.repeat(g.literal("0"), 0, kMostDigits);
  Expression any = g.optional(g.sequence({point, digits(1, kMostDigits)}));
  Expression none = g.optional(g.sequence({point, g.repeat(g.literal("0"), 1, kMostDigits)}));
  // Not all of its digits are zero.
  Expression some = g.sequence({point, zeros, g.character('1', '9'), digits(0, kMostDigits)});
  uint64_t from = without_least ? least + 1 : least;
  bool between = !most || least < *most;  // there are numbers with fractions
  if (without_least && between) ways.push_back(g.sequence({magnitudes(least, least), some}));
  if (between && (!most || from < *most)) {
    ways.push_back(g.sequence({magnitudes(from, most ? std::optional(*most - 1) : std::nullopt), any}));
  }
  bool bound_counts = most && !without_most && (!without_least || least < *most);
  if (bound_counts) ways.push_back(g.sequence({magnitudes(*most, *most), none}));
  return g.any_of(std::move(ways));
}

// The numbers on either side of zero, each as a range of magnitudes.
Expression JsonText::signed_numbers(const NumberRange& range, bool with_fractions) {
  auto part = [&](uint64_t least, bool without_least, std::optional<uint64_t> most, bool without_most) {
    if (with_fractions) return fractions(least, without_least, most, without_most);
    uint64_t from = without_least ? least + 1 : least;
    if (most && without_most) {
      if (*most == 0) return grammar_->any_of({});
      --*most;
    }
    if (most && *most < from) return grammar_->any_of({});
    return magnitudes(from, most);
  };
  auto magnitude = [](int64_t value) {
    return value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  };
  std::vector<Expression> ways;
  if (!range.most || *range.most >= 0) {
    bool from_zero = !range.least || *range.least < 0;
    uint64_t least = from_zero ? 0 : magnitude(*range.least);
    std::optional<uint64_t> most = range.most ? std::optional(magnitude(*range.most)) : std::nullopt;
    ways.push_back(part(least, !from_zero && range.without_least, most, range.without_most));
  }
  if (!range.least || *range.least < 0) {
    // -0 is left out.
    bool from_zero = !range.most || *range.most >= 0;
    uint64_t least = from_zero ? 0 : magnitude(*range.most);
    std::optional<uint64_t> most = range.least ? std::optional(magnitude(*range.least)) : std::nullopt;
    Expression below = part(least, from_zero || range.without_most, most, range.without_least);
    ways.push_back(grammar_->sequence({grammar_->literal("-"), below}));
  }
  return grammar_->any_of(std::move(ways));
}

Expression JsonText::integer(const NumberRange& range) { return signed_numbers(range, false); }

Expression JsonText::number(const NumberRange& range) {
  if (range.least || range.most) return signed_numbers(range, true);
  return rule(number_, "any number", [&] {
    Grammar& g = *grammar_;
    Expression whole = g.any_of({g.literal("0"), g.sequence({g.character('1', '9'), digits(0, kMostDigits - 1)})});
    Expression sign = g.any_of({g.nothing(), g.literal("+"), g.literal("-")});
    Expression e = g.any_of({g.literal("e"), g.literal("E")});
    return g.sequence({g.optional(g.literal("-")), whole,
                       g.optional(g.sequence({g.literal("."), digits(1, kMostDigits)})),
                       g.optional(g.sequence({e, sign, digits(1, 2)}))});
  });
}

}  // namespace tandem
