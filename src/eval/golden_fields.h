// Fields of a golden case's config.json: a convention that we do not have must not pass for one that we have.
#pragma once

#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace tandem {

[[noreturn]] inline void unsupported(const std::string& where, const std::string& key, const std::string& got,
                                     const std::string& expected) {
  throw InputError({.what = fmt::format("golden case with a convention that is not supported: '{}'", key),
                    .where = where,
                    .got = got,
                    .expected = expected});
}

template <class E>
E choose(const Json& json, const char* key, const std::string& where,
         std::initializer_list<std::pair<const char*, E>> choices) {
  std::string got = json_string(json, key, where), known;
  for (const auto& [name, value] : choices) {
    if (got == name) return value;
    known += fmt::format("{}{}", known.empty() ? "" : " | ", name);
  }
  unsupported(where, key, got, known);
}

inline void require_flag(const Json& json, const char* key, bool expected, const std::string& where) {
  if (json_bool(json, key, where) != expected) {
    unsupported(where, key, expected ? "false" : "true", expected ? "true" : "false");
  }
}

// What config.json says of a derived number has to be what our formula gives.
inline void require_equal(const Json& json, const char* key, double ours, const std::string& where) {
  double theirs = json_number(json, key, where);
  if (std::abs(theirs - ours) > 1e-9 * std::max(1.0, std::abs(ours))) {
    unsupported(where, key, fmt::format("{}", theirs), fmt::format("{}", ours));
  }
}

}  // namespace tandem
