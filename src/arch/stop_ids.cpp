#include "arch/stop_ids.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFile = "generation_config.json";
constexpr const char* kKey = "eos_token_id";

}  // namespace

std::vector<int32_t> stop_ids_of(const Json& json, int64_t vocab_size, const std::string& where) {
  if (!json.is_object()) throw InputError({.what = "not a config", .where = where, .expected = "an object"});
  if (!json.contains(kKey) || json.at(kKey).is_null()) return {};
  const Json& value = json.at(kKey);
  const Json list = value.is_array() ? value : Json::array({value});
  std::vector<int32_t> ids;
  for (const Json& id : list) {
    bool whole = id.is_number_integer() && id >= 0 && id < vocab_size;
    if (!whole) {
      throw InputError({.what = fmt::format("bad '{}'", kKey),
                        .where = where,
                        .got = id.dump(-1, ' ', false, Json::error_handler_t::replace),
                        .expected = fmt::format("an id or a list of ids, 0..{}", vocab_size - 1)});
    }
    add_ids(ids, std::vector{id.get<int32_t>()});
  }
  return ids;
}

std::vector<int32_t> read_stop_ids(const fs::path& folder, int64_t vocab_size) {
  fs::path file = folder / kFile;
  if (!fs::is_regular_file(file)) return {};
  return stop_ids_of(read_json(file), vocab_size, file.string());
}

void write_stop_ids(const fs::path& folder, std::span<const int32_t> ids) {
  if (ids.size() < 2) return;
  OrderedJson json{{kKey, stop_ids_json(ids)}};
  write_file_atomically(folder / kFile, json.dump(2) + "\n");
}

OrderedJson stop_ids_json(std::span<const int32_t> ids) {
  if (ids.size() == 1) return ids.front();
  return std::vector<int32_t>(ids.begin(), ids.end());
}

void add_ids(std::vector<int32_t>& to, std::span<const int32_t> ids) {
  for (int32_t id : ids) {
    if (std::find(to.begin(), to.end(), id) == to.end()) to.push_back(id);
  }
}

}  // namespace tandem
