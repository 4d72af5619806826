#include "base/toml.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace tandem {
namespace {

// A toml++ position as "file:line".
std::string at_line(const std::string& where, const toml::source_region& source) {
  return source.begin.line ? fmt::format("{}:{}", where, source.begin.line) : where;
}

toml::table parse(std::string_view text, const std::string& where) {
  try {
    return toml::parse(text, where);
  } catch (const toml::parse_error& error) {
    throw InputError({.what = "cannot parse TOML",
                      .where = at_line(where, error.source()),
                      .hint = std::string(error.description())});
  }
}

Json to_json(const toml::node& node, const std::string& where) {
  if (auto* table = node.as_table()) {
    Json object = Json::object();
    for (const auto& [key, value] : *table) object[std::string(key.str())] = to_json(value, where);
    return object;
  }
  if (auto* array = node.as_array()) {
    Json list = Json::array();
    for (const toml::node& value : *array) list.push_back(to_json(value, where));
    return list;
  }
  if (auto* value = node.as_boolean()) return value->get();
  if (auto* value = node.as_integer()) return value->get();
  if (auto* value = node.as_floating_point()) return value->get();
  if (auto* value = node.as_string()) return value->get();
  throw InputError({.what = "value of a type that no config has",
                    .where = at_line(where, node.source()),
                    .got = "a date or time",
                    .expected = "text, a number, true or false, a list or a table"});
}

void apply_table(FieldList& fields, const std::string& prefix, const toml::table& table, const std::string& where) {
  for (const auto& [key, value] : table) {
    std::string name = prefix + std::string(key.str());
    if (value.is_table() && !fields.contains(name) && fields.is_group(name)) {
      apply_table(fields, name + ".", *value.as_table(), where);
    } else {
      std::string place = at_line(where, key.source());
      if (!fields.contains(name) && !fields.is_group(name)) fields.throw_unknown(name, place);
      fields.set(name, to_json(value, where), place);
    }
  }
}

}  // namespace

void apply_toml_text(FieldList& fields, std::string_view text, const std::string& where) {
  apply_table(fields, "", parse(text, where), where);
}

void apply_toml(FieldList& fields, const std::filesystem::path& path) {
  apply_toml_text(fields, read_file(path), path.string());
}

Json toml_to_json(const std::filesystem::path& path) {
  return to_json(parse(read_file(path), path.string()), path.string());
}

void apply_override(FieldList& fields, std::string_view assignment) {
  size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw InputError({.what = "bad override",
                      .where = "command line",
                      .got = fmt::format("'{}'", assignment),
                      .expected = "key=value"});
  }
  fields.set_text(assignment.substr(0, equals), assignment.substr(equals + 1), "command line");
}

std::string to_toml(const FieldList& fields) {
  // Fields of the top level come first: after a [table] line every key belongs to that table. JSON texts, numbers and
  // lists of texts are written the same way in TOML, except that JSON may write a double without fraction or exponent
  // marks that TOML needs; both forms are read as numbers.
  std::string out, table;
  auto write = [&](bool nested) {
    for (const std::string& name : fields.names()) {
      size_t dot = name.rfind('.');
      if ((dot != std::string::npos) != nested) continue;
      std::string group = nested ? name.substr(0, dot) : "";
      if (group != table) out += fmt::format("\n[{}]\n", group);
      table = group;
      out += fmt::format("{} = {}\n", nested ? name.substr(dot + 1) : name, fields.get(name).dump());
    }
  };
  write(false);
  write(true);
  return out;
}

}  // namespace tandem
