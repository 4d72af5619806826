// A context-free grammar over characters, as the readers of grammar files and JSON schemas build it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "infer/code_set.h"

namespace tandem {

class Grammar {
 public:
  // An expression: its place in expressions(). Expressions are made of earlier ones and may be used several times.
  using Expression = int32_t;
  // A rule: its place in rules(). Rule 0 is the whole text.
  using RuleId = int32_t;

  static constexpr int64_t kUnlimited = -1;
  enum class Kind : uint8_t {
    literal,     // these bytes
    characters,  // one character of a set
    sequence,    // the parts, one after another; without parts the empty text
    any_of,      // one of the parts; without parts nothing at all
    repeat,      // the part, `least` to `most` times
    call,        // a rule
  };
  struct Node {
    Kind kind;
    std::string bytes;
    CodeSet set;
    std::vector<Expression> parts;
    int64_t least = 0;
    int64_t most = 0;
    RuleId rule = 0;
  };
  struct Rule {
    std::string name;  // for people: errors name it
    Expression body = -1;
  };

  // `where` names the file in errors.
  explicit Grammar(std::string where) : where_(std::move(where)) {}

  Expression literal(std::string_view bytes) { return add({.kind = Kind::literal, .bytes = std::string(bytes)}); }
  Expression characters(CodeSet set) { return add({.kind = Kind::characters, .set = std::move(set)}); }
  Expression character(uint32_t first, uint32_t last) { return characters(make_code_set({{first, last}})); }
  Expression sequence(std::vector<Expression> parts) {
    return add({.kind = Kind::sequence, .parts = std::move(parts)});
  }
  Expression any_of(std::vector<Expression> parts) { return add({.kind = Kind::any_of, .parts = std::move(parts)}); }
  Expression repeat(Expression part, int64_t least, int64_t most = kUnlimited) {
    return add({.kind = Kind::repeat, .parts = {part}, .least = least, .most = most});
  }
  Expression optional(Expression part) { return repeat(part, 0, 1); }
  Expression nothing() { return sequence({}); }
  Expression call(RuleId rule) { return add({.kind = Kind::call, .rule = rule}); }

  RuleId add_rule(std::string name) {
    rules_.push_back({std::move(name)});
    return static_cast<RuleId>(rules_.size() - 1);
  }
  void define(RuleId rule, Expression body) { rules_[static_cast<size_t>(rule)].body = body; }

  const std::string& where() const { return where_; }
  const std::vector<Node>& expressions() const { return expressions_; }
  const std::vector<Rule>& rules() const { return rules_; }

 private:
  Expression add(Node node) {
    expressions_.push_back(std::move(node));
    return static_cast<Expression>(expressions_.size() - 1);
  }

  std::string where_;
  std::vector<Node> expressions_;
  std::vector<Rule> rules_;
};

}  // namespace tandem
