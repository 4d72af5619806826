// The tokens that end what a model writes, where they are more than the eos_id of its config: "eos_token_id" of a
// generation_config.json beside config.json, one id or a list, in a model folder as in one of Hugging Face's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/json_fwd.h"

namespace tandem {

// What `json` says under "eos_token_id": nothing, an id or a list. InputError for anything else, and for ids outside of
// 0 .. vocab_size - 1.
std::vector<int32_t> stop_ids_of(const Json& json, int64_t vocab_size, const std::string& where);

// The same of a folder's generation_config.json; nothing when there is none.
std::vector<int32_t> read_stop_ids(const std::filesystem::path& folder, int64_t vocab_size);

// Writes such a file, that `ids` end a text, unless a single one does: config.json says that.
void write_stop_ids(const std::filesystem::path& folder, std::span<const int32_t> ids);

// The id alone, or the list of several.
OrderedJson stop_ids_json(std::span<const int32_t> ids);

// Appends those that are not there yet.
void add_ids(std::vector<int32_t>& to, std::span<const int32_t> ids);

}  // namespace tandem
