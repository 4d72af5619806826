#include "train/checkpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>
#include <vector>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "data/hash.h"
#include "formats/safetensors.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kVersion = 1;
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kMoments = "optimizer.safetensors";
constexpr const char* kState = "state.json";
constexpr const char* kDone = "DONE";
constexpr std::string_view kPrefix = "step-";

std::string hash_of_file(const fs::path& path) { return hex64(hash64(MappedFile(path).text())); }

void write_moments(const fs::path& path, const Optimizer& optimizer) {
  std::vector<SafetensorsEntry> entries;
  size_t index = 0;
  for (const Parameter& p : optimizer.parameters().all()) {
    const Optimizer::Moments& m = optimizer.moments()[index++];
    entries.push_back({p.name() + ".first_moment", m.first.tensor()});
    entries.push_back({p.name() + ".second_moment", m.second.tensor()});
  }
  write_safetensors(path, entries);
}

void read_moment(const SafetensorsFile& file, const std::string& name, const Tensor& to) {
  Tensor stored = file.tensor(name);
  if (stored.dtype != DType::f32 || !(stored.shape == to.shape)) {
    throw InputError({.what = "tensor does not fit the model",
                      .where = fmt::format("'{}' of {}", name, file.path().string()),
                      .got = fmt::format("{} {}", dtype_name(stored.dtype), stored.shape.text()),
                      .expected = fmt::format("float32 {}", to.shape.text())});
  }
  copy_convert(to, stored);
}

void read_moments(const fs::path& path, Optimizer& optimizer) {
  SafetensorsFile file = SafetensorsFile::open(path);
  size_t index = 0;
  for (const Parameter& p : optimizer.parameters().all()) {
    const Optimizer::Moments& m = optimizer.moments()[index++];
    read_moment(file, p.name() + ".first_moment", m.first.tensor());
    read_moment(file, p.name() + ".second_moment", m.second.tensor());
  }
}

OrderedJson state_to_json(const RunState& state, const fs::path& folder) {
  OrderedJson files;
  for (const char* name : {kWeights, kMoments}) {
    files[name] = {{"bytes", fs::file_size(folder / name)}, {"hash", hash_of_file(folder / name)}};
  }
  return {{"version", kVersion},
          {"step", state.step},
          {"updates", state.updates},
          {"tokens", state.tokens},
          {"skipped", state.skipped},
          {"skipped_in_row", state.skipped_in_row},
          {"loss", state.loss},
          {"seconds", state.seconds},
          {"window_loss", state.window_loss},
          {"window_labelled", state.window_labelled},
          {"cursor", state.cursor},
          {"heldout", state.heldout},
          {"tokenizer", state.tokenizer},
          {"isa", state.isa},
          {"precision", state.precision},
          {"files", files}};
}

RunState state_from_json(const Json& json, const std::string& where) {
  RunState state;
  state.step = json_int(json, "step", where);
  state.updates = json_int(json, "updates", where);
  state.tokens = json_int(json, "tokens", where);
  state.skipped = json_int(json, "skipped", where);
  state.skipped_in_row = json_int(json, "skipped_in_row", where);
  state.loss = json_number(json, "loss", where);
  state.seconds = json_number(json, "seconds", where);
  state.window_loss = json_number(json, "window_loss", where);
  state.window_labelled = json_int(json, "window_labelled", where);
  state.cursor = json_at(json, "cursor", where);
  state.heldout = json_at(json, "heldout", where);
  state.tokenizer = json_string(json, "tokenizer", where);
  state.isa = json_string(json, "isa", where);
  state.precision = json_string(json, "precision", where);
  return state;
}

// Why a folder is not a whole checkpoint; empty when it is one.
std::string defect(const fs::path& folder, int64_t step) {
  try {
    if (!fs::exists(folder / kDone)) return "it was not finished";
    std::string text = read_file(folder / kState);
    if (read_file(folder / kDone) != hex64(hash64(text)) + "\n") return "state.json and DONE do not belong together";
    std::string where = (folder / kState).string();
    Json json = parse_json(text, where);
    if (json_int(json, "version", where) != kVersion) return "it has another version";
    if (json_int(json, "step", where) != step) return "it is of another step";
    const Json& files = json_at(json, "files", where);
    for (const char* name : {kWeights, kMoments}) {
      const Json& file = json_at(files, name, where);
      MappedFile map(folder / name);
      if (static_cast<int64_t>(map.bytes().size()) != json_int(file, "bytes", where) ||
          hex64(hash64(map.text())) != json_string(file, "hash", where)) {
        return fmt::format("{} is damaged", name);
      }
    }
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

// Steps of the folders called step-N, newest first.
std::vector<int64_t> listed(const fs::path& folder) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    int64_t step = 0;
    const char* end = name.data() + name.size();
    auto parsed = std::from_chars(name.data() + kPrefix.size(), end, step);
    if (parsed.ec == std::errc() && parsed.ptr == end && step >= 0) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

// DONE goes first, so that a removal that is cut short does not leave something that looks whole.
void remove_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  fs::remove(folder / kDone, ignored);
  fs::remove_all(folder, ignored);
}

void rename_folder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) throw JobError({.what = "cannot rename folder", .where = to.string(), .got = error.message()});
}

}  // namespace

fs::path CheckpointStore::path(int64_t step) const { return folder_ / fmt::format("{}{}", kPrefix, step); }

void CheckpointStore::save(const RunState& state, const Optimizer& optimizer, int64_t keep) const {
  create_folder(folder_);
  fs::path target = path(state.step), aside = folder_ / fmt::format("writing-{}{}", kPrefix, state.step);
  std::error_code ignored;
  fs::remove_all(aside, ignored);
  try {
    create_folder(aside);
    write_parameters(aside / kWeights, optimizer.parameters());
    write_moments(aside / kMoments, optimizer);
    std::string text = state_to_json(state, aside).dump(2) + "\n";
    write_file_atomically(aside / kState, text);
    remove_checkpoint(target);
    rename_folder(aside, target);
    sync_path(folder_);
    write_file_atomically(target / kDone, hex64(hash64(text)) + "\n");
  } catch (...) {
    fs::remove_all(aside, ignored);
    throw;
  }
  remove_others(state.step, keep);
}

void CheckpointStore::remove_others(int64_t newest, int64_t keep) const {
  int64_t kept = 0;
  for (int64_t step : listed(folder_)) {
    bool whole = step <= newest && fs::exists(path(step) / kDone);
    if (whole && kept < keep) {
      ++kept;
    } else {
      remove_checkpoint(path(step));
    }
  }
  std::error_code ignored;
  std::vector<fs::path> unfinished;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, ignored)) {
    if (entry.path().filename().string().starts_with("writing-")) unfinished.push_back(entry.path());
  }
  for (const fs::path& folder : unfinished) fs::remove_all(folder, ignored);
}

std::optional<int64_t> CheckpointStore::newest() const {
  for (int64_t step : listed(folder_)) {
    std::string reason = defect(path(step), step);
    if (reason.empty()) return step;
    log::warn("{} is left out: {}", path(step).string(), reason);
  }
  return std::nullopt;
}

RunState CheckpointStore::load(int64_t step, Optimizer& optimizer) const {
  fs::path folder = path(step);
  RunState state = state_from_json(read_json(folder / kState), (folder / kState).string());
  read_parameters(folder / kWeights, optimizer.parameters());
  read_moments(folder / kMoments, optimizer);
  optimizer.set_updates(state.updates);
  return state;
}

}  // namespace tandem
