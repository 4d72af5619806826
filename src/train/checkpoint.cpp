#include "train/checkpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <system_error>
#include <vector>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "formats/safetensors.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kVersion = 2;
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kMoments = "optimizer.safetensors";
constexpr const char* kState = "state.json";
constexpr const char* kDone = "DONE";
constexpr std::string_view kPrefix = "step-";

std::string hash_of_file(const fs::path& path) { return hex64(hash64(MappedFile(path).text())); }

// A tensor of moments in optimizer.safetensors: the parameter's name and `suffix`.
struct MomentTensor {
  Storage Moments::*storage;
  const char* suffix;
  bool scales;
};
constexpr std::array kMomentTensors{MomentTensor{&Moments::first, ".first_moment", false},
                                    MomentTensor{&Moments::second, ".second_moment", false},
                                    MomentTensor{&Moments::first_scale, ".first_moment_scale", true},
                                    MomentTensor{&Moments::second_scale, ".second_moment_scale", true}};

void write_moments(const fs::path& path, const ParameterStore& parameters, const std::deque<Moments>& moments) {
  std::vector<SafetensorsEntry> entries;
  size_t index = 0;
  for (const Parameter& p : parameters.all()) {
    const Moments& m = moments[index++];
    for (const MomentTensor& kind : kMomentTensors) {
      if (const Tensor& t = (m.*kind.storage).tensor(); t.defined()) entries.push_back({p.name() + kind.suffix, t});
    }
  }
  write_safetensors(path, entries);
}

// Which state a file of moments holds; empty for a tensor type that none has.
std::optional<OptimizerState> stored_state(const Tensor& first_moment) {
  switch (first_moment.dtype) {
    case DType::f32: return OptimizerState::float32;
    case DType::bf16: return OptimizerState::bfloat16;
    case DType::u8: return OptimizerState::bits8;
    default: return std::nullopt;
  }
}

// `range` of a moment of a parameter of this shape, or the scales of its blocks.
void read_moment(const SafetensorsFile& file, const std::string& name, DType dtype, const Shape& shape,
                 const ElementRange& range, const Tensor& to) {
  Tensor stored = file.tensor(name);
  if (stored.dtype != dtype || !(stored.shape == shape)) {
    throw InputError({.what = "tensor does not fit the model",
                      .where = fmt::format("'{}' of {}", name, file.path().string()),
                      .got = fmt::format("{} {}", dtype_name(stored.dtype), stored.shape.text()),
                      .expected = fmt::format("{} {}", dtype_name(dtype), shape.text())});
  }
  if (range.size() == 0) return;
  Tensor from = elements_of(stored, range);
  std::memcpy(to.data, from.data, static_cast<size_t>(from.bytes()));
}

void read_moments(const fs::path& path, Optimizer& optimizer) {
  SafetensorsFile file = SafetensorsFile::open(path);
  OptimizerState state = optimizer.config().state;
  size_t index = 0;
  for (const Parameter& p : optimizer.parameters().all()) {
    std::optional<OptimizerState> stored = stored_state(file.tensor(p.name() + kMomentTensors[0].suffix));
    if (stored && *stored != state) {
      throw InputError({.what = "checkpoint with another optimizer state",
                        .where = path.string(),
                        .got = std::string(state_name(*stored)),
                        .expected = std::string(state_name(state)),
                        .hint = fmt::format("go on with optimizer.state={}", state_name(*stored))});
    }
    const Moments& m = optimizer.moments()[index++];
    ElementRange blocks{m.range.begin / kernels::kStateBlock, kernels::state_blocks(m.range.end)};
    for (const MomentTensor& kind : kMomentTensors) {
      if (kind.scales && state != OptimizerState::bits8) continue;
      const Tensor& to = (m.*kind.storage).tensor();
      if (kind.scales) {
        read_moment(file, p.name() + kind.suffix, DType::f32, {kernels::state_blocks(p.shape().elements())},
                    m.range.size() > 0 ? blocks : ElementRange{}, to);
      } else {
        read_moment(file, p.name() + kind.suffix, state_dtype(state), p.shape(), m.range, to);
      }
    }
  }
}

OrderedJson state_to_json(const RunState& state, const fs::path& folder) {
  OrderedJson json = {{"version", kVersion}};
  json.update(to_json(state));
  for (const char* name : {kWeights, kMoments}) {
    json["files"][name] = {{"bytes", fs::file_size(folder / name)}, {"hash", hash_of_file(folder / name)}};
  }
  return json;
}

// Why a folder is not a whole checkpoint; empty when it is one.
std::string defect(const fs::path& folder, int64_t step) {
  try {
    if (!fs::exists(folder / kDone)) return "it was not finished";
    std::string text = read_file(folder / kState);
    if (read_file(folder / kDone) != hex64(hash64(text)) + "\n") return "state.json and DONE do not belong together";
    std::string where = (folder / kState).string();
    Json json = parse_json(text, where);
    if (int64_t version = json_int(json, "version", where); version != kVersion) {
      return fmt::format("it has version {} and this program reads version {}", version, kVersion);
    }
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

// One that can't be read is none.
bool is_anchor(const fs::path& folder) {
  try {
    std::string where = (folder / kState).string();
    Json state = read_json(folder / kState);
    return json_int(state, "anchor", where) == json_int(state, "step", where);
  } catch (const InputError&) {
    return false;
  }
}

bool finished(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / kDone, ignored);
}

}  // namespace

fs::path CheckpointStore::path(int64_t step) const { return folder_ / fmt::format("{}{}", kPrefix, step); }

void CheckpointStore::save(const RunState& state, const Optimizer& optimizer, const Retention& retention,
                           const std::deque<Moments>& moments) const {
  if (!fs::exists(folder_)) {
    create_folder(folder_);
    sync_path(folder_.parent_path());
  }
  fs::path target = path(state.step), aside = folder_ / fmt::format("writing-{}{}", kPrefix, state.step);
  std::error_code ignored;
  fs::remove_all(aside, ignored);
  try {
    create_folder(aside);
    write_parameters(aside / kWeights, optimizer.parameters());
    write_moments(aside / kMoments, optimizer.parameters(), moments.empty() ? optimizer.moments() : moments);
    std::string text = state_to_json(state, aside).dump(2) + "\n";
    write_file_atomically(aside / kState, text);
    remove_checkpoint(target);
    rename_folder(aside, target);
    sync_path(folder_);
    write_file_atomically(target / kDone, hex64(hash64(text)) + "\n");
  } catch (...) {
    fs::remove_all(aside, ignored);
    if (!finished(target)) fs::remove_all(target, ignored);
    throw;
  }
  remove_others(state.step, retention);
}

void CheckpointStore::remove_others(int64_t newest, const Retention& retention) const {
  int64_t kept = 0, anchors = 0;
  for (int64_t step : listed(folder_)) {
    bool stays = false;
    if (step <= newest && finished(path(step))) {
      stays = kept < retention.newest || step == retention.best;
      if (anchors < retention.anchors && is_anchor(path(step))) {
        stays = true;
        ++anchors;
      }
      ++kept;
    }
    if (!stays) remove_checkpoint(path(step));
  }
  std::error_code ignored;
  std::vector<fs::path> unfinished;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, ignored)) {
    if (entry.path().filename().string().starts_with("writing-")) unfinished.push_back(entry.path());
  }
  for (const fs::path& folder : unfinished) fs::remove_all(folder, ignored);
}

std::optional<int64_t> CheckpointStore::newest() const {
  std::string damaged, reason;
  for (int64_t step : listed(folder_)) {
    reason = defect(path(step), step);
    if (reason.empty()) return step;
    log::warn("{} is left out: {}", path(step).string(), reason);
    if (finished(path(step)) && damaged.empty()) damaged = reason;
  }
  if (damaged.empty()) return std::nullopt;
  throw InputError({.what = "no checkpoint of the run can be used",
                    .where = folder_.string(),
                    .got = damaged,
                    .hint = "remove this folder to train from the beginning"});
}

std::optional<int64_t> CheckpointStore::newest_anchor(int64_t last) const {
  for (int64_t step : listed(folder_)) {
    if (step <= last && is_anchor(path(step)) && whole(step)) return step;
  }
  return std::nullopt;
}

bool CheckpointStore::whole(int64_t step) const { return defect(path(step), step).empty(); }

void CheckpointStore::remove_after(int64_t step) const {
  for (int64_t later : listed(folder_)) {
    if (later > step) remove_checkpoint(path(later));
  }
}

RunState CheckpointStore::load(int64_t step, Optimizer& optimizer) const {
  fs::path folder = path(step);
  RunState state = run_state_from_json(read_json(folder / kState), (folder / kState).string());
  load_parameters(step, optimizer.parameters());
  read_moments(folder / kMoments, optimizer);
  optimizer.set_updates(state.updates);
  return state;
}

void CheckpointStore::load_parameters(int64_t step, ParameterStore& parameters) const {
  read_parameters(path(step) / kWeights, parameters);
}

}  // namespace tandem
