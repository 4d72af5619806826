#include "text/json_node.h"

#include "base/error.h"
#include "base/json.h"
#include "text/unicode.h"

namespace tandem {

void JsonNode::wrong(const std::string& what, const std::string& expected, const std::string& hint) const {
  std::string got = value_->is_object()  ? "an object"
                    : value_->is_array() ? fmt::format("an array of {}", value_->size())
                                         : value_->dump(-1, ' ', false, Json::error_handler_t::replace);
  throw InputError({.what = what, .where = where(), .got = got, .expected = expected, .hint = hint});
}

bool JsonNode::is_null() const { return value_->is_null(); }
bool JsonNode::has(const char* key) const { return value_->is_object() && value_->contains(key); }

JsonNode JsonNode::at(const char* key) const {
  if (!value_->is_object()) wrong("wrong type", fmt::format("an object with the key '{}'", key));
  auto found = value_->find(key);
  if (found == value_->end()) {
    throw InputError({.what = "missing key", .where = where(), .expected = fmt::format("'{}'", key)});
  }
  return {*found, *file_, path_.empty() ? key : path_ + "." + key};
}

std::vector<JsonNode> JsonNode::elements() const {
  if (!value_->is_array()) wrong("wrong type", "an array");
  std::vector<JsonNode> nodes;
  nodes.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) nodes.push_back({(*value_)[i], *file_, fmt::format("{}[{}]", path_, i)});
  return nodes;
}

std::vector<std::pair<std::string, JsonNode>> JsonNode::members() const {
  if (!value_->is_object()) wrong("wrong type", "an object");
  std::vector<std::pair<std::string, JsonNode>> nodes;
  nodes.reserve(value_->size());
  for (const auto& [key, value] : value_->items()) {
    nodes.emplace_back(key, JsonNode{value, *file_, fmt::format("{}['{}']", path_, key)});
  }
  return nodes;
}

const std::string& JsonNode::string() const {
  if (!value_->is_string()) wrong("wrong type", "a string");
  return value_->get_ref<const std::string&>();
}

const std::string& JsonNode::character() const {
  const std::string& text = string();
  size_t end = 0;
  if (!text.empty()) next_code_point(text, end);
  if (end == 0 || end != text.size()) wrong("wrong length", "one character");
  return text;
}

bool JsonNode::boolean() const {
  if (!value_->is_boolean()) wrong("wrong type", "true or false");
  return value_->get<bool>();
}

int64_t JsonNode::integer() const {
  bool too_large = value_->is_number_unsigned() && value_->get<uint64_t>() > uint64_t{INT64_MAX};
  if (!value_->is_number_integer() || too_large) wrong("wrong type", "an integer");
  return value_->get<int64_t>();
}

bool JsonNode::boolean_or(const char* key, bool otherwise) const {
  return has(key) && !at(key).is_null() ? at(key).boolean() : otherwise;
}

std::string JsonNode::string_or(const char* key, const std::string& otherwise) const {
  return has(key) && !at(key).is_null() ? at(key).string() : otherwise;
}

}  // namespace tandem
