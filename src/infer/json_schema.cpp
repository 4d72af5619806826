#include "infer/json_schema.h"

#include <algorithm>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/json.h"
#include "infer/json_text.h"
#include "infer/pattern.h"
#include "infer/schema_node.h"
#include "text/unicode.h"

namespace tandem {
namespace {

using Expression = Grammar::Expression;

constexpr int64_t kMostCount = 1'000'000;

class SchemaReader {
 public:
  SchemaReader(const OrderedJson& document, const std::string& where)
      : document_(document), where_(where), grammar_(where), json_(grammar_) {}

  Grammar read() {
    rule_of({&document_, "#", &where_});
    while (!waiting_.empty()) {
      auto [rule, node] = std::move(waiting_.front());
      waiting_.pop_front();
      grammar_.define(rule, body(node));
    }
    return std::move(grammar_);
  }

 private:
  // Every schema is a rule of its own, made once, so that recursion ends and nothing is written out twice.
  Expression rule_of(const SchemaNode& node) {
    auto [entry, fresh] = rules_.try_emplace(node.path, 0);
    if (fresh) {
      entry->second = grammar_.add_rule(node.path);
      waiting_.emplace_back(entry->second, node);
    }
    return grammar_.call(entry->second);
  }

  Expression body(const SchemaNode& node) {
    if (node.value->is_boolean()) return node.value->get<bool>() ? json_.value() : grammar_.any_of({});
    node.check_keywords();
    if (node.has("$ref")) return reference(node);
    if (node.has("enum") || node.has("const")) return constants(node);
    for (const char* key : {"anyOf", "oneOf", "allOf"}) {
      if (node.has(key)) return combined(node, key);
    }
    std::vector<Expression> ways;
    for (const std::string& type : node.types()) ways.push_back(of_type(node, type));
    return ways.empty() ? json_.value() : grammar_.any_of(std::move(ways));
  }

  Expression of_type(const SchemaNode& node, const std::string& type) {
    if (type == "object") return object(node);
    if (type == "array") return array(node);
    if (type == "string") return string(node);
    if (type == "integer") return json_.integer(node.number_range());
    if (type == "number") return json_.number(node.number_range());
    if (type == "boolean") return json_.boolean();
    return json_.null();
  }

  Expression reference(const SchemaNode& node) {
    node.refuse_beside("$ref", {});
    return rule_of(node.at("$ref").resolve(document_));
  }

  Expression constants(const SchemaNode& node) {
    node.refuse_beside(node.has("enum") ? "enum" : "const", {"const", "type"});
    std::vector<Expression> ways;
    for (const OrderedJson* value : node.constants()) ways.push_back(grammar_.literal(value->dump()));
    if (ways.empty()) node.refuse("no value of 'enum' is possible", "", "");
    return grammar_.any_of(std::move(ways));
  }

  Expression combined(const SchemaNode& node, const char* key) {
    node.refuse_beside(key, {});
    std::vector<SchemaNode> parts = node.at(key).elements();
    if (parts.empty()) node.refuse(fmt::format("'{}' without schemas", key), "", "");
    if (std::string_view(key) == "allOf" && parts.size() > 1) {
      node.at(key).refuse("'allOf' of several schemas is not supported", "", "one schema");
    }
    if (std::string_view(key) == "oneOf") check_exclusive(node.at(key), parts);
    std::vector<Expression> ways;
    for (const SchemaNode& part : parts) ways.push_back(rule_of(part));
    return grammar_.any_of(std::move(ways));
  }

  // A value that satisfies two of them would not satisfy oneOf.
  void check_exclusive(const SchemaNode& node, const std::vector<SchemaNode>& parts) const {
    // By pairs; more than that are not checked one by one.
    constexpr size_t kMost = 200;
    if (parts.size() > kMost)
      node.refuse("too many schemas", fmt::format("{}", parts.size()), fmt::format("at most {}", kMost));
    for (size_t i = 0; i < parts.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (exclude_each_other(parts[i], parts[j], document_)) continue;
        throw InputError({.what = "schemas of 'oneOf' that may hold together",
                          .where = node.place(),
                          .got = fmt::format("numbers {} and {}", j, i),
                          .expected = "different types, or a required property with different constants",
                          .hint = "anyOf takes all"});
      }
    }
  }

  Expression string(const SchemaNode& node) {
    auto [least, most] = node.counts("minLength", "maxLength", kMostCount);
    if (node.has("pattern")) {
      if (least > 0 || most != Grammar::kUnlimited)
        node.refuse("'pattern' beside minLength or maxLength is not supported", "", "");
      const SchemaNode pattern = node.at("pattern");
      return json_.quoted(read_pattern(pattern.string(), pattern.place(), grammar_, json_));
    }
    if (least == 0 && most == Grammar::kUnlimited) return json_.any_string();
    return json_.quoted(grammar_.repeat(json_.character(), least, most));
  }

  Expression comma(Expression next) { return grammar_.sequence({grammar_.literal(","), json_.space(), next}); }

  Expression array(const SchemaNode& node) {
    auto [least, most] = node.counts("minItems", "maxItems", kMostCount);
    std::vector<Expression> first;
    if (node.has("prefixItems")) {
      for (const SchemaNode& item : node.at("prefixItems").elements()) first.push_back(rule_of(item));
    }
    bool closed = false;
    Expression rest = json_.value();
    if (node.has("items")) {
      const SchemaNode items = node.at("items");
      if (items.value->is_array()) {
        items.refuse("'items' with a list of schemas", "", "'prefixItems', as draft 2020-12 has it");
      }
      closed = items.is_false();
      rest = rule_of(items);
    }
    auto known = static_cast<int64_t>(first.size());
    if (closed && least > known)
      node.refuse("more items demanded than allowed", fmt::format("minItems {}", least),
                  fmt::format("at most {}", known));
    // Behind `written` items, at least one, in rules that call each other.
    std::optional<Expression> behind;
    if (!closed) {
      int64_t written = std::max<int64_t>(known, 1);
      int64_t more = most == Grammar::kUnlimited ? most : std::max<int64_t>(most - written, 0);
      behind = grammar_.repeat(comma(rest), std::max<int64_t>(least - written, 0), more);
    }
    for (int64_t written = known - 1; written >= 1; --written) {
      if (most != Grammar::kUnlimited && written >= most) continue;
      std::vector<Expression> parts{comma(first[static_cast<size_t>(written)])};
      bool last = most != Grammar::kUnlimited && written + 1 >= most;
      if (behind && !last) parts.push_back(*behind);
      Expression going_on = grammar_.sequence(std::move(parts));
      Grammar::RuleId rule = grammar_.add_rule(fmt::format("{} behind {} items", node.path, written));
      grammar_.define(rule, written >= least ? grammar_.optional(going_on) : going_on);
      behind = grammar_.call(rule);
    }
    if (most == 0 || (known == 0 && closed)) return json_.enclosed('[', std::nullopt, true, ']');
    Expression head = known > 0 ? first[0] : rest;
    Expression all = behind && most != 1 ? grammar_.sequence({head, *behind}) : head;
    return json_.enclosed('[', all, least == 0, ']');
  }

  struct Member {
    Expression text;
    bool required;
  };

  Expression object(const SchemaNode& node) {
    std::vector<Member> members = listed_members(node);
    std::optional<Expression> additional = additional_member(node);
    if (members.empty() && !additional) return json_.enclosed('{', std::nullopt, true, '}');
    bool may_be_empty = std::none_of(members.begin(), members.end(), [](const Member& m) { return m.required; });
    // Behind a member that was written. Where none may have been written yet, `begin` is what may come instead; all of
    // these are rules, since what follows an optional member is needed twice.
    std::optional<Expression> behind, begin;
    if (additional) {
      behind = grammar_.repeat(comma(*additional), 0);
      begin = grammar_.sequence({*additional, *behind});
    }
    for (size_t i = members.size(); i-- > 0;) {
      const Member& member = members[i];
      Expression with = member.text, next = comma(member.text);
      if (behind) with = grammar_.sequence({with, *behind});
      begin = member.required || !begin ? with : grammar_.any_of({with, *begin});
      next = member.required ? next : grammar_.optional(next);
      if (behind) next = grammar_.sequence({next, *behind});
      behind = named(next, node.path, i, "behind");
      begin = named(*begin, node.path, i, "from");
    }
    return json_.enclosed('{', begin, may_be_empty, '}');
  }

  Expression named(Expression body, const std::string& path, size_t member, const char* what) {
    Grammar::RuleId rule = grammar_.add_rule(fmt::format("{} {} member {}", path, what, member));
    grammar_.define(rule, body);
    return grammar_.call(rule);
  }

  Expression name_literal(const std::string& name) { return grammar_.literal(OrderedJson(name).dump()); }

  // Those of `properties` in their order, then others that are required.
  std::vector<Member> listed_members(const SchemaNode& node) {
    std::vector<std::string> required = node.required();
    std::set<std::string> missing(required.begin(), required.end());
    std::vector<Member> members;
    if (node.has("properties")) {
      for (const auto& [name, schema] : node.at("properties").members()) {
        members.push_back({json_.member(name_literal(name), rule_of(schema)), missing.erase(name) > 0});
      }
    }
    for (const std::string& name : required) {
      if (missing.erase(name) == 0) continue;
      bool described = node.has("additionalProperties");
      if (described && node.at("additionalProperties").is_false()) {
        node.refuse("required property that 'additionalProperties' excludes", "'" + name + "'", "");
      }
      Expression value = described ? rule_of(node.at("additionalProperties")) : json_.value();
      members.push_back({json_.member(name_literal(name), value), true});
    }
    return members;
  }

  std::optional<Expression> additional_member(const SchemaNode& node) {
    std::set<std::string> taken;
    if (node.has("properties")) {
      for (const auto& [name, schema] : node.at("properties").members()) taken.insert(name);
    }
    for (const std::string& name : node.required()) taken.insert(name);
    bool described = node.has("additionalProperties");
    if (described ? node.at("additionalProperties").is_false() : node.has("properties")) return {};
    Expression value = described ? rule_of(node.at("additionalProperties")) : json_.value();
    Expression name = taken.empty() ? json_.any_string() : json_.quoted(other_names({taken.begin(), taken.end()}));
    return json_.member(name, value);
  }

  // Names without escapes that are none of these: a tree of their characters that is left somewhere.
  Expression other_names(const std::vector<std::string>& taken) {
    CodeSet plain = complement(make_code_set({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}));
    Expression rest = grammar_.repeat(grammar_.characters(plain), 0);
    std::map<std::u32string, Expression> nodes;  // by what was written so far, the longest first
    std::set<std::u32string> names;
    std::map<std::u32string, std::set<char32_t>> branches;
    for (const std::string& name : taken) {
      std::u32string text;
      for (size_t at = 0; at < name.size();) text += static_cast<char32_t>(next_code_point(name, at));
      names.insert(text);
      branches[text];
      for (; !text.empty(); text.pop_back()) branches[text.substr(0, text.size() - 1)].insert(text.back());
    }
    // A prefix sorts before what it begins, so that backwards all branches are there already.
    for (auto it = branches.rbegin(); it != branches.rend(); ++it) {
      const auto& [prefix, next] = *it;
      std::vector<CodeRange> used;
      std::vector<Expression> ways;
      if (!names.contains(prefix)) ways.push_back(grammar_.nothing());
      for (char32_t c : next) {
        used.push_back({c, c});
        CodeSet one = intersection(make_code_set({{c, c}}), plain);
        if (!one.empty()) ways.push_back(grammar_.sequence({grammar_.characters(one), nodes.at(prefix + c)}));
      }
      CodeSet others = intersection(plain, complement(make_code_set(std::move(used))));
      ways.push_back(grammar_.sequence({grammar_.characters(others), rest}));
      Grammar::RuleId rule = grammar_.add_rule("name of an additional property");
      grammar_.define(rule, grammar_.any_of(std::move(ways)));
      nodes[prefix] = grammar_.call(rule);
    }
    return nodes.at(U"");
  }

  const OrderedJson& document_;
  const std::string& where_;
  Grammar grammar_;
  JsonText json_;
  std::unordered_map<std::string, Grammar::RuleId> rules_;  // by place
  std::deque<std::pair<Grammar::RuleId, SchemaNode>> waiting_;
};

}  // namespace

Grammar read_json_schema(std::string_view text, const std::string& where) {
  OrderedJson document = parse_schema_document(text, where);
  return SchemaReader(document, where).read();
}

}  // namespace tandem
