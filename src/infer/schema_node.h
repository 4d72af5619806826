// One place of a JSON schema, with checked access to its keywords.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_fwd.h"
#include "infer/json_text.h"

namespace tandem {

// Strict JSON whose objects keep the order of their members. InputError as parse_json, and for texts and objects so
// large that reading them would take long.
OrderedJson parse_schema_document(std::string_view text, const std::string& where);

struct SchemaNode {
  const OrderedJson* value;
  std::string path;          // "#/properties/name"
  const std::string* where;  // the file

  std::string place() const { return *where + ": " + path; }
  [[noreturn]] void refuse(const std::string& what, const std::string& got, const std::string& expected) const;

  bool has(const char* key) const;
  SchemaNode at(const char* key) const;
  // Schemas of a list, and of an object by name.
  std::vector<SchemaNode> elements() const;
  std::vector<std::pair<std::string, SchemaNode>> members() const;
  const std::string& string() const;
  bool is_false() const;

  // InputError when this is no schema, or has keywords that exclude values and are not supported.
  void check_keywords() const;
  // InputError for keywords beside `key` that exclude values, except `allowed` ones.
  void refuse_beside(const char* key, const std::vector<std::string>& allowed) const;

  // The types that are asked for; those that other keywords imply when `type` is not there. Empty: any.
  std::vector<std::string> types() const;
  // The values of enum and const that `type` admits.
  std::vector<const OrderedJson*> constants() const;
  std::vector<std::string> required() const;
  NumberRange number_range() const;
  // Smallest and largest count; Grammar::kUnlimited without the second.
  std::pair<int64_t, int64_t> counts(const char* least, const char* most, int64_t limit) const;

  // The schema that this string, a $ref, points to.
  SchemaNode resolve(const OrderedJson& document) const;
};

// Whether no value satisfies both, as far as types, constants and constants of required properties show.
bool exclude_each_other(const SchemaNode& a, const SchemaNode& b, const OrderedJson& document);

}  // namespace tandem
