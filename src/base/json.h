// JSON through nlohmann-json, with errors that name file and line.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/json_fwd.h"

namespace tandem {

// Parses UTF-8 text. Duplicate keys, trailing text, nesting deeper than 200 and invalid UTF-8 are InputErrors that
// name `where` and the line.
Json parse_json(std::string_view text, const std::string& where);
Json read_json(const std::filesystem::path& path);

// Typed access. A missing key or another type is an InputError that names `where` and the key.
const Json& json_at(const Json& object, const char* key, const std::string& where);
std::string json_string(const Json& object, const char* key, const std::string& where);
int64_t json_int(const Json& object, const char* key, const std::string& where);
double json_number(const Json& object, const char* key, const std::string& where);
bool json_bool(const Json& object, const char* key, const std::string& where);

}  // namespace tandem
