#include "infer/json_schema.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/error.h"
#include "base/json.h"
#include "infer/grammar_check.h"
#include "text/unicode.h"

namespace tandem::test {
namespace {

// An independent reading of draft 2020-12, over parsed values.
class Validator {
 public:
  explicit Validator(const Json& document) : document_(document) {}
  bool valid(const Json& value) const { return valid(document_, value); }

 private:
  static bool has_type(const Json& value, const std::string& type) {
    if (type == "integer") return value.is_number() && value.get<double>() == std::floor(value.get<double>());
    if (type == "number") return value.is_number();
    return type == (value.is_object()    ? "object"
                    : value.is_array()   ? "array"
                    : value.is_string()  ? "string"
                    : value.is_boolean() ? "boolean"
                    : value.is_null()    ? "null"
                                         : "number");
  }

  bool valid(const Json& schema, const Json& value) const {
    if (schema.is_boolean()) return schema.get<bool>();
    if (schema.contains("$ref")) {
      std::string pointer = schema["$ref"].get<std::string>().substr(1);
      if (!valid(document_.at(Json::json_pointer(pointer)), value)) return false;
    }
    if (schema.contains("type")) {
      const Json& type = schema["type"];
      bool good = false;
      for (const Json& one : type.is_array() ? type : Json::array({type})) good |= has_type(value, one);
      if (!good) return false;
    }
    if (schema.contains("const") && schema["const"] != value) return false;
    if (schema.contains("enum") &&
        std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end()) {
      return false;
    }
    if (schema.contains("anyOf") && matching(schema["anyOf"], value) == 0) return false;
    if (schema.contains("oneOf") && matching(schema["oneOf"], value) != 1) return false;
    if (schema.contains("allOf") && matching(schema["allOf"], value) != schema["allOf"].size()) return false;
    if (value.is_object()) return valid_object(schema, value);
    if (value.is_array()) return valid_array(schema, value);
    if (value.is_string()) return valid_string(schema, value.get<std::string>());
    if (value.is_number()) return valid_number(schema, value.get<double>());
    return true;
  }

  size_t matching(const Json& schemas, const Json& value) const {
    return static_cast<size_t>(
        std::count_if(schemas.begin(), schemas.end(), [&](const Json& schema) { return valid(schema, value); }));
  }

  bool valid_object(const Json& schema, const Json& value) const {
    for (const Json& name : schema.value("required", Json::array())) {
      if (!value.contains(name.get<std::string>())) return false;
    }
    Json properties = schema.value("properties", Json::object());
    for (const auto& [name, part] : value.items()) {
      if (properties.contains(name)) {
        if (!valid(properties[name], part)) return false;
      } else if (schema.contains("additionalProperties") && !valid(schema["additionalProperties"], part)) {
        return false;
      }
    }
    return true;
  }

  bool valid_array(const Json& schema, const Json& value) const {
    if (value.size() < schema.value("minItems", size_t{0}) || value.size() > schema.value("maxItems", SIZE_MAX))
      return false;
    Json prefix = schema.value("prefixItems", Json::array());
    for (size_t i = 0; i < value.size(); ++i) {
      if (i < prefix.size() ? !valid(prefix[i], value[i])
                            : schema.contains("items") && !valid(schema["items"], value[i])) {
        return false;
      }
    }
    return true;
  }

  static bool valid_string(const Json& schema, const std::string& text) {
    std::wstring wide;
    for (size_t at = 0; at < text.size();) wide += static_cast<wchar_t>(next_code_point(text, at));
    if (wide.size() < schema.value("minLength", size_t{0}) || wide.size() > schema.value("maxLength", SIZE_MAX))
      return false;
    if (!schema.contains("pattern")) return true;
    std::string pattern = schema["pattern"];
    return std::regex_search(wide, std::wregex(std::wstring(pattern.begin(), pattern.end())));
  }

  static bool valid_number(const Json& schema, double number) {
    if (schema.contains("minimum") && number < schema["minimum"].get<double>()) return false;
    if (schema.contains("maximum") && number > schema["maximum"].get<double>()) return false;
    if (schema.contains("exclusiveMinimum") && number <= schema["exclusiveMinimum"].get<double>()) return false;
    return !schema.contains("exclusiveMaximum") || number < schema["exclusiveMaximum"].get<double>();
  }

  const Json& document_;
};

const std::vector<std::string> kSchemas{
    "{}",
    "true",
    R"({"type": "string"})",
    R"({"type": "string", "minLength": 2, "maxLength": 5})",
    R"({"type": "string", "minLength": 3})",
    R"({"type": ["integer", "null", "boolean"]})",
    R"({"type": "integer", "minimum": -17, "maximum": 1203})",
    R"({"type": "integer", "exclusiveMinimum": 98, "exclusiveMaximum": 1001})",
    R"({"type": "integer", "maximum": -5})",
    R"({"type": "number"})",
    R"({"type": "number", "minimum": -2, "maximum": 12})",
    R"({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1})",
    R"({"type": "number", "exclusiveMaximum": -3})",
    R"({"enum": ["a", "b\"c", 3, null, [1, {"x": "\u00e4"}], 1.5]})",
    R"({"const": {"k": [true]}})",
    R"({"type": "string", "enum": ["a", 1, "b"]})",
    R"({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4})",
    R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string", "maxLength": 2}], "items": false})",
    R"({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}, {"const": 3}], "items": {"const": 4}, "minItems": 2,
        "maxItems": 5})",
    R"({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}, {"const": 3}], "maxItems": 2})",
    R"({"type": "array", "maxItems": 0})",
    R"({"type": "array", "maxItems": 1, "items": {"type": "null"}})",
    R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer"}},
        "required": ["age"], "additionalProperties": false})",
    R"({"type": "object", "properties": {"b": {"const": 1}, "a": {"const": 2}, "c": {"const": 3}}})",
    R"({"type": "object", "properties": {"a": {"const": 1}, "ab": {"const": 2}, "\"q": {"const": 3}},
        "additionalProperties": {"type": "null"}})",
    R"({"type": "object", "required": ["x", "y"], "properties": {"y": {"type": "null"}}})",
    R"({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}})",
    R"({"properties": {"kind": {"const": "a"}}, "required": ["kind"]})",
    R"({"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "array", "items": {"type": "boolean"}}]})",
    R"({"oneOf": [{"type": "object", "properties": {"t": {"const": "x"}, "v": {"type": "integer"}}, "required": ["t", "v"]},
                  {"type": "object", "properties": {"t": {"enum": ["y", "z"]}}, "required": ["t"]}, {"type": "string"}]})",
    R"({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"value": {"type": "integer"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}, "required": ["value"],
        "additionalProperties": false}}})",
    R"({"type": "array", "items": {"allOf": [{"$ref": "#/definitions/a~1b"}]}, "definitions": {"a/b": {"type": "null"}}})",
    R"({"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]})",
    R"({"type": "string", "pattern": "^[a-f]{2,4}-\\d+$"})",
    R"({"type": "string", "pattern": "^(foo|ba[rz])?\"\\\\x*$"})",
    R"({"type": "string", "pattern": "ab|^x.y"})",
    R"({"type": "string", "pattern": "^[^a-z]+$", "title": "T", "format": "unknown"})",
};

// Tokens that occur in JSON, so that walks get somewhere.
std::shared_ptr<const ConstraintVocabulary> json_vocabulary() {
  return byte_vocabulary({"\"",  "{\"",  "\":", "\": ",  "\",",  "\", \"", "},",   "]}",  "}]",  "[[",
                          "]]",  "{}",   "[]",  "true",  "null", "12",     ".5",   "e1",  "\\u", "\\ud8",
                          "\\n", "name", "age", "\": {", ", ",   "\n",     "\n  ", "\"}", "\"]", "0,"});
}

TEST(JsonSchema, RandomWalksAreValidAndCanAlwaysEnd) {
  auto vocabulary = json_vocabulary();
  Rng rng(7, 0);
  for (const std::string& text : kSchemas) {
    Json schema = parse_json(text, "schema");
    Validator validator(schema);
    Grammar grammar = read_json_schema(text, "schema");
    auto constraint = std::make_shared<Constraint>(grammar, vocabulary);
    for (int walk = 0; walk < 60; ++walk) {
      std::string written;
      ASSERT_NO_THROW(written = random_walk(grammar, constraint, *vocabulary, static_cast<int>(rng.below(40)), rng))
          << text;
      try {
        ASSERT_TRUE(validator.valid(parse_json(written, "walk"))) << text << "\n" << written;
      } catch (const InputError& error) {
        // Two additional members may have the same name.
        ASSERT_NE(std::string(error.what()).find("duplicate key"), std::string::npos) << error.what() << "\n"
                                                                                      << written;
      }
    }
  }
}

struct Texts {
  std::string schema;
  std::vector<std::string> accepted, refused;
};

TEST(JsonSchema, AcceptsAndRefuses) {
  const std::vector<Texts> cases{
      {"{}",
       {"null", "-1.5e-3", "[1, 2]", "{\"a\": {\"b\":[]}}", "\"\\u00e4\\ud83d\\ude00\"", "{\n  \"a\": 1\n}", "0", "[]"},
       {"", "01", "[1,]", "\"\\ud83d\"", "\"\n\"", "{\"a\"}", "+1", "1.", ".5", "nul", "[1  ,2]"}},
      {R"({"type": "string", "minLength": 1, "maxLength": 2})",
       {"\"a\"", "\"\u65e5\U0001F600\"", "\"\\n\\u0041\"", "\"\\ud83d\\ude00x\""},
       {"\"\"", "\"abc\"", "\"\\n\\n\\n\"", "\"\\ud83d\\ude00\\ud83d\\ude00x\""}},
      {R"({"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "integer"}}, "required": ["a"]})",
       {R"({"b": 1, "a": 2})", R"({"a":2})", "{\n \"a\": 2\n}"},
       {R"({"a": 2, "b": 1})", "{}", R"({"b": 1})", R"({"a": 2, "c": 1})", R"({"a": 2,})"}},
      {R"({"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": {"const": 2}})",
       {"{}", R"({"a":1})", R"({"b":2})", R"({"a":1,"aa":2, "":2})", "{\"\u00e4\":2}"},
       {R"({"a":2})", R"({"b":1})", R"({"a":1,"a":2})", R"({"\u0061":2})"}},
      {R"({"type": "integer", "minimum": 7, "maximum": 120})",
       {"7", "9", "10", "99", "100", "119", "120"},
       {"6", "121", "07", "1", "-7", "0", "1000", "7.0"}},
      {R"({"type": "number", "exclusiveMinimum": 0, "maximum": 2})",
       {"0.1", "0.01", "1", "1.99", "2", "2.0", "1.0"},
       {"0", "0.0", "2.01", "-1", "3", "-0"}},
      {R"({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": {"const": 3}, "minItems": 1})",
       {"[1]", "[1,2]", "[1, 2, 3, 3]", "[ 1 ]"},
       {"[]", "[2]", "[1,3]", "[1,2,2]"}},
      {R"({"type": "string", "pattern": "^\\s*[\\w-]{1,3}$"})",
       {"\"a-1\"", "\"\\t x\"", "\"\u3000x\""},
       {"\"\"", "\"abcd\""}},
      {R"({"type": "string", "pattern": "b"})", {"\"b\"", "\"\\u0041b\\n\""}, {"\"\"", "\"ac\""}},
  };
  for (const Texts& c : cases) {
    GrammarCheck check(read_json_schema(c.schema, "schema"));
    for (const std::string& text : c.accepted) EXPECT_TRUE(check.accepts(text)) << c.schema << "\n" << text;
    for (const std::string& text : c.refused) EXPECT_FALSE(check.accepts(text)) << c.schema << "\n" << text;
  }
}

TEST(JsonSchema, IntegerRangesAreExact) {
  Rng rng(8, 0);
  auto check_range = [](int64_t least, int64_t most, int64_t from, int64_t to) {
    Json schema{{"type", "integer"}, {"minimum", least}, {"maximum", most}};
    GrammarCheck check(read_json_schema(schema.dump(), "schema"));
    for (int64_t n = from; n <= to; ++n) {
      ASSERT_EQ(check.accepts(std::to_string(n)), n >= least && n <= most) << least << ".." << most << ": " << n;
    }
  };
  for (int round = 0; round < 150; ++round) {
    auto a = static_cast<int64_t>(rng.below(2400)) - 1200, b = static_cast<int64_t>(rng.below(2400)) - 1200;
    if (rng.below(2)) a /= 10;
    check_range(std::min(a, b), std::max(a, b), -1300, 1300);
  }
  check_range(999999999999, 1000000000001, 999999999900, 1000000000100);
}

TEST(JsonSchema, EveryJsonTextOfASmallAlphabetIsReached) {
  GrammarCheck check(read_json_schema("{}", "schema"));
  int accepted = 0;
  std::function<void(const std::string&)> all = [&](const std::string& text) {
    // Exponents have at most two digits.
    static const std::regex long_exponent("e-?[01]{3}");
    bool json = Json::accept(text) && !std::regex_search(text, long_exponent);
    ASSERT_EQ(check.accepts(text), json) << text;
    accepted += json;
    if (text.size() == 5) return;
    for (char c : std::string("[]{},:\"10-e.")) all(text + c);
  };
  all("");
  EXPECT_GT(accepted, 500);
}

TEST(JsonSchema, RefusalsNameThePlace) {
  struct Case {
    std::string schema;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases{
      {"{\"type\": }", {"s.json:1", "JSON"}},
      {"3", {"s.json: #", "got 3"}},
      {"{\"type\": \"strng\"}", {"#/type", "strng"}},
      {R"({"properties": {"a": {"properties": {"b": {"not": {}}}}}})", {"#/properties/a/properties/b", "'not'"}},
      {R"({"type": "string", "minLength": 3, "maxLength": 2})", {"minLength", "3 and 2"}},
      {R"({"type": "string", "minLength": -1})", {"#/minLength", "-1"}},
      {R"-({"type": "string", "pattern": "(?=a)"})-", {"#/pattern, character 3"}},
      {R"({"type": "string", "pattern": "a", "maxLength": 3})", {"pattern"}},
      {R"({"type": "string", "maxLength": 900000})", {"too large"}},
      {R"({"type": "integer", "minimum": 0.5})", {"#/minimum", "0.5"}},
      {R"({"type": "integer", "minimum": 3, "maximum": 2})", {"no number"}},
      {R"({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4})", {"no text can satisfy", "#"}},
      {R"({"type": "integer", "multipleOf": 2})", {"multipleOf"}},
      {R"({"enum": []})", {"enum"}},
      {R"({"type": "string", "enum": [1]})", {"enum"}},
      {R"({"enum": ["a"], "minLength": 3})", {"minLength", "enum"}},
      {R"({"anyOf": []})", {"anyOf"}},
      {R"({"anyOf": [{}], "type": "string"})", {"anyOf", "type"}},
      {R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})", {"#/oneOf", "0 and 1"}},
      {R"({"allOf": [{}, {}]})", {"allOf"}},
      {R"({"$ref": "#/$defs/x"})", {"#/$ref", "nothing"}},
      {R"({"$ref": "http://example.com/x"})", {"#/$ref", "out of the document"}},
      {R"({"$ref": "#"})", {"no text can satisfy"}},
      {R"({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]})", {"no text can satisfy"}},
      {R"({"type": "array", "items": [{}]})", {"prefixItems"}},
      {R"({"type": "array", "items": false, "minItems": 1})", {"minItems 1"}},
      {R"({"type": "array", "uniqueItems": true})", {"uniqueItems"}},
      {R"({"required": ["x"], "additionalProperties": false})", {"'x'"}},
      {R"({"properties": {"x": false}, "required": ["x"]})", {"no text can satisfy", "#/properties/x"}},
      {R"({"a": 1, "a": 2})", {"duplicate"}},
  };
  for (const Case& c : cases) {
    std::string line = "accepted";
    try {
      Automaton automaton(read_json_schema(c.schema, "s.json"));
    } catch (const InputError& error) {
      line = error.what();
    }
    EXPECT_EQ(line.find('\n'), std::string::npos);
    for (const std::string& word : c.words) EXPECT_NE(line.find(word), std::string::npos) << c.schema << ": " << line;
  }
}

}  // namespace
}  // namespace tandem::test
