// A value of a JSON file together with its place in it ("model.merges[12]"), so that every complaint names the key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_fwd.h"

namespace tandem {

class JsonNode {
 public:
  // `file` and `value` outlive the node.
  JsonNode(const Json& value, const std::string& file, std::string path)
      : value_(&value), file_(&file), path_(std::move(path)) {}

  const Json& value() const { return *value_; }
  std::string where() const { return path_.empty() ? *file_ : *file_ + ": " + path_; }

  bool is_null() const;
  bool has(const char* key) const;

  // InputError when this is not an object or lacks the key.
  JsonNode at(const char* key) const;
  // Elements of an array; InputError for anything else.
  std::vector<JsonNode> elements() const;
  // Members of an object, by key.
  std::vector<std::pair<std::string, JsonNode>> members() const;

  // The value as a type; InputError when it has another one.
  const std::string& string() const;
  bool boolean() const;
  int64_t integer() const;

  // The member `key`, or `otherwise` when it is missing or null.
  bool boolean_or(const char* key, bool otherwise) const;
  std::string string_or(const char* key, const std::string& otherwise) const;

  // A string of one character.
  const std::string& character() const;

  [[noreturn]] void wrong(const std::string& what, const std::string& expected, const std::string& hint = "") const;

 private:
  const Json* value_;
  const std::string* file_;
  std::string path_;
};

}  // namespace tandem
