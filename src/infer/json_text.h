// Grammar of JSON text: the parts of which a schema's values are made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "infer/grammar.h"

namespace tandem {

// Bounds of a number; nothing: no bound.
struct NumberRange {
  std::optional<int64_t> least;
  std::optional<int64_t> most;
  bool without_least = false;  // the bounds themselves are excluded
  bool without_most = false;
};

// Adds rules to a grammar as they are asked for. What is written is a part of JSON: numbers have at most 16 digits on
// either side of the point and exponents at most two, so that every reader takes them; between tokens stands nothing, a
// space, or a line break and up to 40 spaces.
class JsonText {
 public:
  using Expression = Grammar::Expression;
  explicit JsonText(Grammar& grammar) : grammar_(&grammar) {}

  Expression value();       // any
  Expression any_object();  // of any members
  Expression any_array();
  Expression any_string();
  Expression boolean();
  Expression null() { return grammar_->literal("null"); }

  Expression space();
  // What stands between an opening and a closing character, or nothing.
  Expression enclosed(char open, std::optional<Expression> inside, bool may_be_empty, char close);
  // name: value; `name` is written with its quotes.
  Expression member(Expression name, Expression value);

  // One character inside quotes, in any way of writing it.
  Expression character();
  Expression quoted(Expression inside);
  // A character of the set inside quotes, written in the shortest way.
  Expression character_of(const CodeSet& set);

  Expression integer(const NumberRange& range);
  Expression number(const NumberRange& range);

 private:
  template <class Make>
  Expression rule(Grammar::RuleId& known, const char* name, Make make);

  Expression digits(int64_t least, int64_t most) {
    return grammar_->repeat(grammar_->character('0', '9'), least, most);
  }
  Expression magnitudes(uint64_t least, std::optional<uint64_t> most);
  Expression same_length(const std::string& least, const std::string& most);
  Expression fractions(uint64_t least, bool without_least, std::optional<uint64_t> most, bool without_most);
  Expression signed_numbers(const NumberRange& range, bool fractions);

  Grammar* grammar_;
  Grammar::RuleId value_ = -1, object_ = -1, array_ = -1, string_ = -1, character_ = -1, space_ = -1, number_ = -1;
};

}  // namespace tandem
