#include "base/json.h"

#include <algorithm>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace tandem {
namespace {

constexpr int kDeepest = 200;

// Builds the document while it looks for what nlohmann-json accepts silently: duplicate keys and endless nesting.
class StrictBuilder : public nlohmann::json_sax<Json> {
 public:
  StrictBuilder(Json& root, std::string_view text, const std::string& where)
      : dom_(root, false), text_(text), where_(where) {}

  bool null() override { return dom_.null(); }
  bool boolean(bool v) override { return dom_.boolean(v); }
  bool number_integer(number_integer_t v) override { return dom_.number_integer(v); }
  bool number_unsigned(number_unsigned_t v) override { return dom_.number_unsigned(v); }
  bool number_float(number_float_t v, const string_t& s) override { return dom_.number_float(v, s); }
  bool string(string_t& v) override { return dom_.string(v); }
  bool binary(binary_t& v) override { return dom_.binary(v); }
  bool start_object(size_t n) override {
    check_depth();
    keys_.emplace_back();
    return dom_.start_object(n);
  }
  bool key(string_t& v) override {
    if (!keys_.back().insert(v).second) {
      throw InputError({.what = "duplicate key in JSON", .where = where_, .got = "'" + v + "' twice"});
    }
    return dom_.key(v);
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return dom_.end_object();
  }
  bool start_array(size_t n) override {
    check_depth();
    return dom_.start_array(n);
  }
  bool end_array() override {
    --depth_;
    return dom_.end_array();
  }
  bool parse_error(size_t position, const std::string& token, const nlohmann::detail::exception& e) override {
    size_t end = std::min(position, text_.size());
    auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    std::string reason = e.what();
    if (auto colon = reason.find("parse error"); colon != std::string::npos) reason = reason.substr(colon);
    throw InputError({.what = "cannot parse JSON",
                      .where = fmt::format("{}:{}", where_, line),
                      .got = token.empty() ? "" : "'" + token + "'",
                      .hint = reason});
  }

 private:
  void check_depth() {
    if (++depth_ > kDeepest) {
      throw InputError({.what = "JSON is nested too deeply",
                        .where = where_,
                        .expected = fmt::format("at most {} levels", kDeepest)});
    }
  }

  nlohmann::detail::json_sax_dom_parser<Json> dom_;
  std::string_view text_;
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;
  int depth_ = 0;
};

[[noreturn]] void wrong_type(const Json& got, const char* key, const char* expected, const std::string& where) {
  std::string text = got.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  throw InputError({.what = fmt::format("wrong type of '{}'", key), .where = where, .got = text, .expected = expected});
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  // nlohmann-json takes a NUL for the end of the text and would not look at what follows.
  if (size_t nul = text.find('\0'); nul != std::string_view::npos) {
    auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(nul), '\n');
    throw InputError({.what = "cannot parse JSON", .where = fmt::format("{}:{}", where, line), .got = "a NUL byte"});
  }
  Json root;
  StrictBuilder builder(root, text, where);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return root;
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

const Json& json_at(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object()) wrong_type(object, key, "a JSON object that holds it", where);
  auto found = object.find(key);
  if (found == object.end()) {
    throw InputError({.what = "missing key in JSON", .where = where, .expected = fmt::format("'{}'", key)});
  }
  return *found;
}

std::string json_string(const Json& object, const char* key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  if (!value.is_string()) wrong_type(value, key, "a string", where);
  return value.get<std::string>();
}

int64_t json_int(const Json& object, const char* key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  bool too_large = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX};
  if (!value.is_number_integer() || too_large) wrong_type(value, key, "an integer", where);
  return value.get<int64_t>();
}

double json_number(const Json& object, const char* key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  if (!value.is_number()) wrong_type(value, key, "a number", where);
  return value.get<double>();
}

bool json_bool(const Json& object, const char* key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  if (!value.is_boolean()) wrong_type(value, key, "true or false", where);
  return value.get<bool>();
}

}  // namespace tandem
