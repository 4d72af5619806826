// The fields of a config struct, listed once: help, parsing, JSON, checkpoints and unknown-key errors derive from the
// list. A struct offers `void list_fields(FieldList& fields, Struct& config)`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json_fwd.h"

namespace tandem {

// Named references to the members of a struct, which must outlive the list. Nested structs become "group.name".
// The value a member holds when it is added counts as its default.
class FieldList {
 public:
  void add(std::string name, bool& member, std::string help);
  void add(std::string name, int64_t& member, std::string help);
  void add(std::string name, double& member, std::string help);
  void add(std::string name, std::string& member, std::string help);
  void add(std::string name, std::vector<std::string>& member, std::string help);
  void add(std::string name, std::vector<double>& member, std::string help);

  // The first name of a value is the canonical one (written to JSON and help); further names are aliases.
  template <class E>
  void add_enum(std::string name, E& member, std::vector<std::pair<std::string, E>> names, std::string help);

  // A member that is written as text of a form of its own ("fixed:16"): `text` gives its canonical form, `assign` takes
  // one and says whether it could be read. `form` tells users what may be written.
  struct TextForm {
    std::string form;
    std::function<std::string()> text;
    std::function<bool(std::string_view text)> assign;
  };
  void add_form(std::string name, TextForm member, std::string help);

  // Fields added by `fill` are named "name.field".
  void group(const std::string& name, const std::function<void(FieldList&)>& fill);

  // Sets one field, given by its full name, from a value of its type. InputError names `where` and the field: unknown
  // name, wrong type, integer out of range or with a fraction, number not finite, unknown choice.
  void set(std::string_view name, const Json& value, const std::string& where);

  // Sets one field from text: true|false, a number, a choice, a string as it stands, a list separated by commas. The
  // name may leave out its first components ("dim" for "model.dim") when only one field ends that way.
  void set_text(std::string_view name, std::string_view text, const std::string& where);

  Json get(std::string_view name) const;
  // What a field with named values may be set to, in the order of the list; empty for others and unknown names.
  std::vector<std::string> choices(std::string_view name) const;

  // Whether set(), set_text() or apply() has given the field a value: what a user has named, and not a default.
  bool was_set(std::string_view name) const;

  // Sets the fields of nested objects; fields that the object leaves out keep their values. On an error nothing before
  // it is undone.
  void apply(const Json& object, const std::string& where);

  // Nested objects in the order of the list.
  OrderedJson to_json() const;

  // One line per field: name, type or choices, default, help.
  std::string help() const;

  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  bool is_group(std::string_view name) const;

  // The known name with the smallest edit distance; empty for an empty list.
  std::string nearest(std::string_view name) const;

  // Full name of a field that may be given by its unambiguous last components. InputError when unknown or ambiguous.
  std::string resolve(std::string_view name, const std::string& where) const;

  [[noreturn]] void throw_unknown(std::string_view name, const std::string& where) const;

 private:
  // Position in `choices` of the member's value, and back.
  struct Choice {
    std::vector<std::string> choices;          // every accepted name
    std::vector<bool> canonical;               // parallel to choices
    std::function<size_t()> index;             // of the canonical name of the current value
    std::function<void(size_t index)> assign;  // any accepted name
  };
  using Member = std::variant<bool*, int64_t*, double*, std::string*, std::vector<std::string>*, std::vector<double>*,
                              TextForm, Choice>;
  struct Field {
    std::string name;
    std::string help;
    std::string default_text;
    Member member;
    bool set = false;
  };

  void add_member(std::string name, Member member, std::string help);
  const Field* find(std::string_view name) const;
  const Field& at(std::string_view name, const std::string& where) const;
  void assign_and_mark(const Field& field, const Json& value, const std::string& where);
  void apply_object(const std::string& prefix, const Json& object, const std::string& where);
  static Json value_of(const Field& field);
  static std::vector<std::string> canonical_choices(const Field& field);
  static std::string type_of(const Field& field);
  static void assign(const Field& field, const Json& value, const std::string& where);
  static Json parse_text(const Field& field, std::string_view text, const std::string& where);

  std::string prefix_;
  std::vector<Field> fields_;
};

template <class E>
void FieldList::add_enum(std::string name, E& member, std::vector<std::pair<std::string, E>> names, std::string help) {
  Choice choice;
  auto values = std::make_shared<std::vector<E>>();
  for (const auto& [text, value] : names) {
    bool first = true;
    for (const E& earlier : *values) first = first && !(earlier == value);
    choice.choices.push_back(text);
    choice.canonical.push_back(first);
    values->push_back(value);
  }
  choice.index = [values, &member] {
    size_t at = 0;
    while (at < values->size() && !((*values)[at] == member)) ++at;
    return at;
  };
  choice.assign = [values, &member](size_t index) { member = (*values)[index]; };
  add_member(std::move(name), std::move(choice), std::move(help));
}

}  // namespace tandem
