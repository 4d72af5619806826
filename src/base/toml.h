// Run configs: TOML files and key=value overrides onto a list of fields.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/fields.h"

namespace tandem {

// Sets the fields that the file names. InputError with file and line: TOML that does not parse, an unknown key (naming
// the nearest known one), a value of another type.
void apply_toml(FieldList& fields, const std::filesystem::path& path);
void apply_toml_text(FieldList& fields, std::string_view text, const std::string& where);

// The whole file as JSON. Dates and times are InputErrors: no config has them.
Json toml_to_json(const std::filesystem::path& path);

// "key=value" from the command line; the key may be shortened as in FieldList::set_text.
void apply_override(FieldList& fields, std::string_view assignment);

// The current values as a TOML file that apply_toml reads back.
std::string to_toml(const FieldList& fields);

}  // namespace tandem
