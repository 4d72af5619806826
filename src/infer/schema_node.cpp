#include "infer/schema_node.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/json.h"

namespace tandem {
namespace {

// Everything that can exclude values, with the type that it is about.
struct Keyword {
  std::string_view name;
  std::string_view type;
  bool supported = true;
};
constexpr std::array kKeywords{
    Keyword{"type", ""},
    Keyword{"enum", ""},
    Keyword{"const", ""},
    Keyword{"anyOf", ""},
    Keyword{"oneOf", ""},
    Keyword{"allOf", ""},
    Keyword{"$ref", ""},
    Keyword{"not", "", false},
    Keyword{"if", "", false},
    Keyword{"then", "", false},
    Keyword{"else", "", false},
    Keyword{"$dynamicRef", "", false},
    Keyword{"properties", "object"},
    Keyword{"required", "object"},
    Keyword{"additionalProperties", "object"},
    Keyword{"patternProperties", "object", false},
    Keyword{"propertyNames", "object", false},
    Keyword{"minProperties", "object", false},
    Keyword{"maxProperties", "object", false},
    Keyword{"dependentRequired", "object", false},
    Keyword{"dependentSchemas", "object", false},
    Keyword{"unevaluatedProperties", "object", false},
    Keyword{"items", "array"},
    Keyword{"prefixItems", "array"},
    Keyword{"minItems", "array"},
    Keyword{"maxItems", "array"},
    Keyword{"contains", "array", false},
    Keyword{"minContains", "array", false},
    Keyword{"maxContains", "array", false},
    Keyword{"unevaluatedItems", "array", false},
    Keyword{"uniqueItems", "array", false},
    Keyword{"minLength", "string"},
    Keyword{"maxLength", "string"},
    Keyword{"pattern", "string"},
    Keyword{"minimum", "number"},
    Keyword{"maximum", "number"},
    Keyword{"exclusiveMinimum", "number"},
    Keyword{"exclusiveMaximum", "number"},
    Keyword{"multipleOf", "number", false},
};

constexpr std::array<std::string_view, 7> kTypes{"object", "array", "string", "number", "integer", "boolean", "null"};

std::string shortened(const OrderedJson& value) {
  std::string text = value.dump();
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

std::string escaped(std::string_view name) {
  std::string out;
  for (char c : name) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

bool is_integer(const OrderedJson& value) {
  if (value.is_number_integer()) return true;
  return value.is_number_float() && value.get<double>() == std::floor(value.get<double>());
}

bool has_type(const OrderedJson& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "number") return value.is_number();
  if (type == "integer") return value.is_number() && is_integer(value);
  if (type == "boolean") return value.is_boolean();
  return value.is_null();
}

void check_sizes(const Json& value, const std::string& where) {
  constexpr size_t kMostMembers = 4096, kLongestName = 200;
  if (value.is_object()) {
    if (value.size() > kMostMembers) {
      throw InputError({.what = "object with too many members",
                        .where = where,
                        .got = fmt::format("{}", value.size()),
                        .expected = fmt::format("at most {}", kMostMembers)});
    }
    for (const auto& [name, part] : value.items()) {
      if (name.size() > kLongestName) {
        throw InputError({.what = "name too long",
                          .where = where,
                          .got = "'" + name.substr(0, 40) + "...'",
                          .expected = fmt::format("at most {} bytes", kLongestName)});
      }
    }
  }
  if (value.is_structured()) {
    for (const auto& part : value) check_sizes(part, where);
  }
}

}  // namespace

OrderedJson parse_schema_document(std::string_view text, const std::string& where) {
  constexpr size_t kLargest = size_t{1} << 20;
  if (text.size() > kLargest) {
    throw InputError({.what = "schema too large",
                      .where = where,
                      .got = fmt::format("{} bytes", text.size()),
                      .expected = fmt::format("at most {}", kLargest)});
  }
  // Refuses what the second reader would take: it keeps the order of members and takes longer for it.
  check_sizes(parse_json(text, where), where);
  return OrderedJson::parse(text.begin(), text.end());
}

void SchemaNode::refuse(const std::string& what, const std::string& got, const std::string& expected) const {
  throw InputError({.what = what, .where = place(), .got = got, .expected = expected});
}

bool SchemaNode::has(const char* key) const { return value->is_object() && value->contains(key); }

SchemaNode SchemaNode::at(const char* key) const { return {&value->at(key), path + "/" + escaped(key), where}; }

std::vector<SchemaNode> SchemaNode::elements() const {
  if (!value->is_array()) refuse("wrong type", shortened(*value), "a list of schemas");
  std::vector<SchemaNode> out;
  for (size_t i = 0; i < value->size(); ++i) out.push_back({&(*value)[i], fmt::format("{}/{}", path, i), where});
  return out;
}

std::vector<std::pair<std::string, SchemaNode>> SchemaNode::members() const {
  if (!value->is_object()) refuse("wrong type", shortened(*value), "an object of schemas");
  std::vector<std::pair<std::string, SchemaNode>> out;
  for (const auto& [name, part] : value->items()) out.push_back({name, {&part, path + "/" + escaped(name), where}});
  return out;
}

const std::string& SchemaNode::string() const {
  if (!value->is_string()) refuse("wrong type", shortened(*value), "a string");
  return value->get_ref<const std::string&>();
}

bool SchemaNode::is_false() const { return value->is_boolean() && !value->get<bool>(); }

void SchemaNode::check_keywords() const {
  if (!value->is_object()) refuse("no schema", shortened(*value), "an object, true or false");
  for (const Keyword& keyword : kKeywords) {
    std::string name(keyword.name);
    if (keyword.supported || !has(name.c_str())) continue;
    // These say nothing.
    const OrderedJson& given = value->at(name);
    if (name == "uniqueItems" && given.is_boolean() && !given.get<bool>()) continue;
    if (name == "minProperties" && given.is_number() && given == 0) continue;
    refuse(fmt::format("keyword '{}' is not supported", name), "", "");
  }
}

void SchemaNode::refuse_beside(const char* key, const std::vector<std::string>& allowed) const {
  for (const Keyword& keyword : kKeywords) {
    std::string name(keyword.name);
    if (name == key || !has(name.c_str())) continue;
    if (std::find(allowed.begin(), allowed.end(), name) != allowed.end()) continue;
    refuse(fmt::format("'{}' beside '{}' is not supported", name, key), "", "");
  }
}

std::vector<std::string> SchemaNode::types() const {
  std::vector<std::string> out;
  if (!has("type")) {
    for (const Keyword& keyword : kKeywords) {
      bool known = std::find(out.begin(), out.end(), keyword.type) != out.end();
      if (!keyword.type.empty() && !known && has(std::string(keyword.name).c_str())) out.emplace_back(keyword.type);
    }
    return out;
  }
  const SchemaNode type = at("type");
  std::vector<SchemaNode> names{type};
  if (type.value->is_array()) names = type.elements();
  for (const SchemaNode& name : names) {
    if (std::find(kTypes.begin(), kTypes.end(), name.string()) == kTypes.end()) {
      name.refuse("unknown type", "'" + name.string() + "'", "object, array, string, number, integer, boolean or null");
    }
    if (std::find(out.begin(), out.end(), name.string()) == out.end()) out.push_back(name.string());
  }
  if (out.empty()) type.refuse("no type", "[]", "at least one");
  return out;
}

std::vector<const OrderedJson*> SchemaNode::constants() const {
  std::vector<const OrderedJson*> all;
  if (has("enum")) {
    const SchemaNode list = at("enum");
    if (!list.value->is_array()) list.refuse("wrong type", shortened(*list.value), "a list of values");
    for (const OrderedJson& one : *list.value) all.push_back(&one);
  }
  if (has("const")) {
    const OrderedJson* only = at("const").value;
    if (!has("enum")) all.push_back(only);
    std::erase_if(all, [&](const OrderedJson* one) { return *one != *only; });
  }
  if (!has("type")) return all;
  std::vector<std::string> admitted = types();
  std::erase_if(all, [&](const OrderedJson* one) {
    return std::none_of(admitted.begin(), admitted.end(),
                        [&](const std::string& type) { return has_type(*one, type); });
  });
  return all;
}

std::vector<std::string> SchemaNode::required() const {
  std::vector<std::string> names;
  if (!has("required")) return names;
  for (const SchemaNode& name : at("required").elements()) names.push_back(name.string());
  return names;
}

namespace {

std::optional<int64_t> bound(const SchemaNode& node, const char* key) {
  if (!node.has(key)) return {};
  const SchemaNode bound = node.at(key);
  constexpr double kLargest = 1e18;
  bool good = bound.value->is_number() && is_integer(*bound.value) && std::abs(bound.value->get<double>()) <= kLargest;
  if (!good) bound.refuse("bound that is not supported", shortened(*bound.value), "an integer of at most 10^18");
  return bound.value->is_number_float() ? static_cast<int64_t>(bound.value->get<double>())
                                        : bound.value->get<int64_t>();
}

}  // namespace

NumberRange SchemaNode::number_range() const {
  NumberRange range{.least = bound(*this, "minimum"), .most = bound(*this, "maximum")};
  if (auto above = bound(*this, "exclusiveMinimum"); above && (!range.least || *above >= *range.least)) {
    range.least = above;
    range.without_least = true;
  }
  if (auto below = bound(*this, "exclusiveMaximum"); below && (!range.most || *below <= *range.most)) {
    range.most = below;
    range.without_most = true;
  }
  if (range.least && range.most && *range.least > *range.most) {
    refuse("no number is possible", fmt::format("at least {} and at most {}", *range.least, *range.most), "");
  }
  return range;
}

std::pair<int64_t, int64_t> SchemaNode::counts(const char* least, const char* most, int64_t limit) const {
  auto count = [&](const char* key, int64_t otherwise) {
    if (!has(key)) return otherwise;
    const SchemaNode node = at(key);
    bool good = node.value->is_number() && is_integer(*node.value) && node.value->get<double>() >= 0 &&
                node.value->get<double>() <= static_cast<double>(limit);
    if (!good) node.refuse("bad count", shortened(*node.value), fmt::format("0..{}", limit));
    return static_cast<int64_t>(node.value->get<double>());
  };
  std::pair<int64_t, int64_t> out{count(least, 0), count(most, Grammar::kUnlimited)};
  if (out.second != Grammar::kUnlimited && out.first > out.second) {
    refuse(fmt::format("'{}' above '{}'", least, most), fmt::format("{} and {}", out.first, out.second), "");
  }
  return out;
}

namespace {

// One part of a JSON pointer in a URI fragment: %41, then ~1 and ~0.
std::string decoded_part(std::string_view part) {
  auto hex = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string plain, out;
  for (size_t i = 0; i < part.size(); ++i) {
    bool coded = part[i] == '%' && i + 2 < part.size() && hex(part[i + 1]) >= 0 && hex(part[i + 2]) >= 0;
    plain += coded ? static_cast<char>(hex(part[i + 1]) * 16 + hex(part[i + 2])) : part[i];
    if (coded) i += 2;
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    bool coded = plain[i] == '~' && i + 1 < plain.size();
    out += coded ? (plain[++i] == '1' ? '/' : '~') : plain[i];
  }
  return out;
}

}  // namespace

SchemaNode SchemaNode::resolve(const OrderedJson& document) const {
  std::string_view target = string();
  if (target != "#" && !target.starts_with("#/"))
    refuse("reference out of the document", "'" + std::string(target) + "'", "'#/...'");
  SchemaNode node{&document, "#", where};
  for (size_t begin = 2; begin <= target.size();) {
    size_t end = std::min(target.find('/', begin), target.size());
    std::string part = decoded_part(target.substr(begin, end - begin));
    begin = end + 1;
    bool index = node.value->is_array() && !part.empty() && part.size() < 10 &&
                 std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (node.has(part.c_str()) && part.find('\0') == std::string::npos) {
      node = node.at(part.c_str());
    } else if (index && std::stoull(part) < node.value->size()) {
      node = node.elements()[std::stoull(part)];
    } else {
      refuse("reference to nothing", "'" + std::string(target) + "'", "a place in the document");
    }
  }
  return node;
}

namespace {

constexpr int kMostSteps = 16;  // of references and properties that are followed to tell schemas apart

SchemaNode target(SchemaNode node, const OrderedJson& document) {
  for (int i = 0; i < kMostSteps && node.has("$ref"); ++i) node = node.at("$ref").resolve(document);
  return node;
}

// Bits of kTypes, integers as numbers, that a schema may admit.
unsigned admitted(const SchemaNode& node) {
  constexpr unsigned kAll = (1u << kTypes.size()) - 1;
  unsigned types = 0;
  auto add = [&](std::string_view type) {
    auto at = std::find(kTypes.begin(), kTypes.end(), type == "integer" ? "number" : type);
    types |= 1u << (at - kTypes.begin());
  };
  if (node.is_false()) return 0;
  if (node.has("enum") || node.has("const")) {
    for (const OrderedJson* value : node.constants()) {
      for (std::string_view type : kTypes) {
        if (has_type(*value, type)) add(type);
      }
    }
    return types;
  }
  if (!node.has("type")) return kAll;
  for (const std::string& type : node.types()) add(type);
  return types;
}

bool excluded_by_constants(const SchemaNode& a, const SchemaNode& b) {
  auto has_constants = [](const SchemaNode& node) { return node.has("enum") || node.has("const"); };
  if (!has_constants(a) || !has_constants(b)) return false;
  std::vector<const OrderedJson*> left = a.constants(), right = b.constants();
  return std::none_of(left.begin(), left.end(), [&](const OrderedJson* x) {
    return std::any_of(right.begin(), right.end(), [&](const OrderedJson* y) { return *x == *y; });
  });
}

bool excluded(SchemaNode a, SchemaNode b, const OrderedJson& document, int depth) {
  a = target(std::move(a), document);
  b = target(std::move(b), document);
  unsigned both = admitted(a) & admitted(b);
  if (both == 0 || excluded_by_constants(a, b)) return true;
  constexpr unsigned kObject = 1;
  if (both != kObject || depth == 0 || !a.has("properties") || !b.has("properties")) return false;
  // A property that one of them requires is there, and both describe it.
  std::vector<std::string> required = a.required(), more = b.required();
  required.insert(required.end(), more.begin(), more.end());
  const SchemaNode left = a.at("properties"), right = b.at("properties");
  return std::any_of(required.begin(), required.end(), [&](const std::string& name) {
    return left.has(name.c_str()) && right.has(name.c_str()) &&
           excluded(left.at(name.c_str()), right.at(name.c_str()), document, depth - 1);
  });
}

}  // namespace

bool exclude_each_other(const SchemaNode& a, const SchemaNode& b, const OrderedJson& document) {
  constexpr int kDeepest = 3;
  return excluded(a, b, document, kDeepest);
}

}  // namespace tandem
