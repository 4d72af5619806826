// Names of the JSON types for headers that only pass them on: nlohmann-json is by far the largest header there is, and
// most files that see a config need none of it.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace tandem {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // keeps the order of insertion: for files that people read

}  // namespace tandem
