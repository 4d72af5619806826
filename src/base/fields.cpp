#include "base/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/edit_distance.h"
#include "base/error.h"
#include "base/json.h"

namespace tandem {
namespace {

std::string_view last_component(std::string_view name) { return name.substr(name.rfind('.') + 1); }

bool ends_in(std::string_view full, std::string_view tail) {
  return full.size() > tail.size() && full.ends_with(tail) && full[full.size() - tail.size() - 1] == '.';
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

[[noreturn]] void wrong_value(const std::string& field, std::string got, std::string expected,
                              const std::string& where) {
  throw InputError(
      {.what = "bad value of '" + field + "'", .where = where, .got = std::move(got), .expected = std::move(expected)});
}

// JSON writes "not a number" and infinities as null; TOML has both.
bool is_finite_number(const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

// Text between commas; nothing for an empty text.
std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; !text.empty() && begin <= text.size();) {
    size_t comma = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return parts;
}

std::optional<double> read_number(std::string_view text) {
  double value = 0;
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

}  // namespace

void FieldList::add_member(std::string name, Member member, std::string help) {
  Field field{.name = prefix_ + name, .help = std::move(help), .default_text = "", .member = std::move(member)};
  if (name.empty() || find(field.name) || is_group(field.name)) {
    throw LogicError({.what = "field added twice or without a name", .got = "'" + field.name + "'"});
  }
  Json value = value_of(field);
  field.default_text = value.is_string() ? value.get<std::string>() : value.dump();
  fields_.push_back(std::move(field));
}

void FieldList::add(std::string name, bool& member, std::string help) {
  add_member(std::move(name), &member, std::move(help));
}
void FieldList::add(std::string name, int64_t& member, std::string help) {
  add_member(std::move(name), &member, std::move(help));
}
void FieldList::add(std::string name, double& member, std::string help) {
  add_member(std::move(name), &member, std::move(help));
}
void FieldList::add(std::string name, std::string& member, std::string help) {
  add_member(std::move(name), &member, std::move(help));
}
void FieldList::add(std::string name, std::vector<std::string>& member, std::string help) {
  add_member(std::move(name), &member, std::move(help));
}
void FieldList::add(std::string name, std::vector<double>& member, std::string help) {
  add_member(std::move(name), &member, std::move(help));
}
void FieldList::add_form(std::string name, TextForm member, std::string help) {
  add_member(std::move(name), std::move(member), std::move(help));
}

void FieldList::group(const std::string& name, const std::function<void(FieldList&)>& fill) {
  std::string outer = prefix_;
  prefix_ += name + ".";
  fill(*this);
  prefix_ = std::move(outer);
}

const FieldList::Field* FieldList::find(std::string_view name) const {
  for (const Field& field : fields_) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

bool FieldList::contains(std::string_view name) const { return find(name) != nullptr; }

bool FieldList::is_group(std::string_view name) const {
  return std::any_of(fields_.begin(), fields_.end(), [&](const Field& field) {
    return field.name.size() > name.size() && field.name.starts_with(name) && field.name[name.size()] == '.';
  });
}

std::vector<std::string> FieldList::names() const {
  std::vector<std::string> names;
  for (const Field& field : fields_) names.push_back(field.name);
  return names;
}

std::string FieldList::nearest(std::string_view name) const {
  std::string best;
  size_t best_distance = std::numeric_limits<size_t>::max();
  for (const Field& field : fields_) {
    // A right key in the wrong table is nearer than a wrong key in the right one: hence the last components alone, at
    // the price of one edit.
    size_t distance =
        std::min(edit_distance(name, field.name), edit_distance(last_component(name), last_component(field.name)) + 1);
    if (distance < best_distance) {
      best_distance = distance;
      best = field.name;
    }
  }
  return best;
}

void FieldList::throw_unknown(std::string_view name, const std::string& where) const {
  std::string near = nearest(name);
  throw InputError({.what = "unknown key",
                    .where = where,
                    .got = fmt::format("'{}'", name),
                    .hint = near.empty() ? "no key is known here" : "the nearest known key is '" + near + "'"});
}

const FieldList::Field& FieldList::at(std::string_view name, const std::string& where) const {
  const Field* field = find(name);
  if (!field) throw_unknown(name, where);
  return *field;
}

std::string FieldList::resolve(std::string_view name, const std::string& where) const {
  if (contains(name)) return std::string(name);
  std::vector<std::string> matches;
  for (const Field& field : fields_) {
    if (ends_in(field.name, name)) matches.push_back(field.name);
  }
  if (matches.empty() || name.empty()) throw_unknown(name, where);
  if (matches.size() > 1) {
    throw InputError({.what = "ambiguous key",
                      .where = where,
                      .got = fmt::format("'{}'", name),
                      .expected = "one of '" + joined(matches, "', '") + "'"});
  }
  return matches.front();
}

Json FieldList::value_of(const Field& field) {
  return std::visit(
      [&](const auto& member) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(member)>, Choice>) {
          size_t index = member.index();
          if (index < member.choices.size()) return member.choices[index];
          throw LogicError({.what = "value without a name", .where = "field '" + field.name + "'"});
        } else if constexpr (std::is_same_v<std::decay_t<decltype(member)>, TextForm>) {
          return member.text();
        } else {
          return *member;
        }
      },
      field.member);
}

std::string FieldList::type_of(const Field& field) {
  switch (field.member.index()) {
    case 0: return "true|false";
    case 1: return "integer";
    case 2: return "number";
    case 3: return "text";
    case 4: return "list of texts";
    case 5: return "list of numbers";
    case 6: return std::get<TextForm>(field.member).form;
    default: break;
  }
  return joined(canonical_choices(field), "|");
}

std::vector<std::string> FieldList::canonical_choices(const Field& field) {
  std::vector<std::string> names;
  const auto* choice = std::get_if<Choice>(&field.member);
  for (size_t i = 0; choice && i < choice->choices.size(); ++i) {
    if (choice->canonical[i]) names.push_back(choice->choices[i]);
  }
  return names;
}

std::vector<std::string> FieldList::choices(std::string_view name) const {
  const Field* field = find(name);
  return field ? canonical_choices(*field) : std::vector<std::string>();
}

void FieldList::assign(const Field& field, const Json& value, const std::string& where) {
  auto reject = [&](const std::string& expected) { wrong_value(field.name, shown(value), expected, where); };
  if (auto* flag = std::get_if<bool*>(&field.member)) {
    if (!value.is_boolean()) reject("true or false");
    **flag = value.get<bool>();
  } else if (auto* integer = std::get_if<int64_t*>(&field.member)) {
    if (!value.is_number_integer()) reject("an integer");
    if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) reject("an integer below 2^63");
    **integer = value.get<int64_t>();
  } else if (auto* number = std::get_if<double*>(&field.member)) {
    if (!is_finite_number(value)) reject("a finite number");
    **number = value.get<double>();
  } else if (auto* text = std::get_if<std::string*>(&field.member)) {
    if (!value.is_string()) reject("text");
    **text = value.get<std::string>();
  } else if (auto* list = std::get_if<std::vector<std::string>*>(&field.member)) {
    bool texts =
        value.is_array() && std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_string(); });
    if (!texts) reject("a list of texts");
    **list = value.get<std::vector<std::string>>();
  } else if (auto* numbers = std::get_if<std::vector<double>*>(&field.member)) {
    if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_finite_number)) {
      reject("a list of finite numbers");
    }
    **numbers = value.get<std::vector<double>>();
  } else if (auto* form = std::get_if<TextForm>(&field.member)) {
    if (!value.is_string() || !form->assign(value.get<std::string>())) reject(form->form);
  } else {
    const Choice& choice = std::get<Choice>(field.member);
    if (!value.is_string()) reject(type_of(field));
    auto found = std::find(choice.choices.begin(), choice.choices.end(), value.get<std::string>());
    if (found == choice.choices.end()) reject(type_of(field));
    choice.assign(static_cast<size_t>(found - choice.choices.begin()));
  }
}

void FieldList::set(std::string_view name, const Json& value, const std::string& where) {
  if (!contains(name) && is_group(name)) wrong_value(std::string(name), shown(value), "a table of keys", where);
  assign_and_mark(at(name, where), value, where);
}

void FieldList::assign_and_mark(const Field& field, const Json& value, const std::string& where) {
  assign(field, value, where);
  fields_[static_cast<size_t>(&field - fields_.data())].set = true;
}

Json FieldList::parse_text(const Field& field, std::string_view text, const std::string& where) {
  auto reject = [&](const std::string& expected) {
    wrong_value(field.name, fmt::format("'{}'", text), expected, where);
  };
  const char* end = text.data() + text.size();
  if (std::holds_alternative<bool*>(field.member)) {
    if (text != "true" && text != "false") reject("true or false");
    return text == "true";
  }
  if (std::holds_alternative<int64_t*>(field.member)) {
    int64_t value = 0;
    auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc::result_out_of_range) reject("an integer below 2^63");
    if (error != std::errc() || stop != end) reject("an integer");
    return value;
  }
  if (std::holds_alternative<double*>(field.member)) {
    std::optional<double> value = read_number(text);
    if (!value) reject("a finite number");
    return *value;
  }
  if (std::holds_alternative<std::vector<std::string>*>(field.member)) {
    Json list = Json::array();
    for (std::string& part : split_list(text)) {
      if (part.empty()) reject("texts separated by commas, none of them empty");
      list.push_back(std::move(part));
    }
    return list;
  }
  if (std::holds_alternative<std::vector<double>*>(field.member)) {
    Json list = Json::array();
    for (const std::string& part : split_list(text)) {
      std::optional<double> value = read_number(part);
      if (!value) reject("finite numbers separated by commas");
      list.push_back(*value);
    }
    return list;
  }
  return std::string(text);
}

void FieldList::set_text(std::string_view name, std::string_view text, const std::string& where) {
  const Field& field = at(resolve(name, where), where);
  assign_and_mark(field, parse_text(field, text, where), where);
}

Json FieldList::get(std::string_view name) const { return value_of(at(name, "")); }

bool FieldList::was_set(std::string_view name) const { return at(name, "").set; }

void FieldList::apply_object(const std::string& prefix, const Json& object, const std::string& where) {
  for (const auto& [key, value] : object.items()) {
    std::string name = prefix + key;
    if (value.is_object() && !contains(name) && is_group(name)) {
      apply_object(name + ".", value, where);
    } else {
      set(name, value, where);
    }
  }
}

void FieldList::apply(const Json& object, const std::string& where) {
  if (!object.is_object()) {
    throw InputError({.what = "bad configuration", .where = where, .got = shown(object), .expected = "an object"});
  }
  apply_object("", object, where);
}

OrderedJson FieldList::to_json() const {
  OrderedJson root = OrderedJson::object();
  for (const Field& field : fields_) {
    OrderedJson* place = &root;
    std::string_view rest = field.name;
    for (size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
      place = &(*place)[std::string(rest.substr(0, dot))];
      rest.remove_prefix(dot + 1);
    }
    (*place)[std::string(rest)] = OrderedJson(value_of(field));
  }
  return root;
}

std::string FieldList::help() const {
  size_t name_width = 0, type_width = 0;
  for (const Field& field : fields_) {
    name_width = std::max(name_width, field.name.size());
    type_width = std::max(type_width, type_of(field).size());
  }
  std::string out;
  for (const Field& field : fields_) {
    out += fmt::format("  {:{}}  {:{}}  {} (default: {})\n", field.name, name_width, type_of(field), type_width,
                       field.help, field.default_text.empty() ? "empty" : field.default_text);
  }
  return out;
}

}  // namespace tandem
