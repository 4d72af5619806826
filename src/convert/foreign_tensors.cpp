#include "convert/foreign_tensors.h"

#include <array>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

class SafetensorsSource final : public TensorFile {
 public:
  explicit SafetensorsSource(const fs::path& path) : file_(SafetensorsFile::open(path)) {}
  std::vector<std::string> names() const override { return file_.names(); }
  Shape shape(const std::string& name) const override { return file_.tensor(name).shape; }
  Tensor tensor(const std::string& name) override { return file_.tensor(name); }
  std::map<std::string, std::string> metadata() const override { return file_.metadata(); }

 private:
  SafetensorsFile file_;
};

class TorchSource final : public TensorFile {
 public:
  explicit TorchSource(const fs::path& path) : file_(TorchFile::open(path)) {}
  std::vector<std::string> names() const override { return file_.names(); }
  Shape shape(const std::string& name) const override { return file_.shape(name); }
  Tensor tensor(const std::string& name) override { return file_.tensor(name); }
  void release() override { file_.release(); }
  std::map<std::string, std::string> metadata() const override { return file_.metadata(); }

 private:
  TorchFile file_;
};

class GgufSource final : public TensorFile {
 public:
  explicit GgufSource(const fs::path& path) : file_(GgufFile::open(path)) {}
  std::vector<std::string> names() const override { return file_.names(); }
  Shape shape(const std::string& name) const override { return file_.shape(name); }
  Tensor tensor(const std::string& name) override { return file_.tensor(name); }
  void release() override { file_.release(); }

 private:
  GgufFile file_;
};

constexpr const char* kIndexEnding = ".index.json";

// Nothing for an ending that is not known.
std::unique_ptr<TensorFile> open_file(const fs::path& path) {
  std::string ending = path.extension().string();
  if (ending == ".safetensors") return std::make_unique<SafetensorsSource>(path);
  if (ending == ".pt" || ending == ".pth" || ending == ".bin") return std::make_unique<TorchSource>(path);
  if (ending == ".gguf") return std::make_unique<GgufSource>(path);
  return nullptr;
}

// The shards that an index names, each a file beside it.
std::set<std::string> shards_of(const Json& index, const std::string& where) {
  const Json& map = json_at(index, "weight_map", where);
  if (!map.is_object() || map.empty()) {
    throw InputError({.what = "bad 'weight_map'", .where = where, .expected = "an object: tensor names to files"});
  }
  std::set<std::string> files;
  for (const auto& [name, file] : map.items()) {
    bool plain = file.is_string() && !file.get<std::string>().empty() &&
                 fs::path(file.get<std::string>()).filename() == file.get<std::string>();
    if (!plain) {
      throw InputError({.what = "shard that is no file beside the index",
                        .where = fmt::format("tensor '{}' of {}", name, where),
                        .got = file.dump(-1, ' ', false, Json::error_handler_t::replace),
                        .expected = "a file name"});
    }
    files.insert(file.get<std::string>());
  }
  return files;
}

[[noreturn]] void unknown_kind(const fs::path& path) {
  throw InputError({.what = "file of an unknown kind",
                    .where = path.string(),
                    .got = "'" + path.extension().string() + "'",
                    .expected = "*.safetensors, *.pt, *.pth, *.bin, *.gguf or *.index.json"});
}

}  // namespace

void ForeignTensors::add(std::unique_ptr<TensorFile> file) {
  for (const std::string& name : file->names()) {
    if (places_.emplace(name, Place{file.get(), name}).second) continue;
    throw InputError({.what = "tensor in two shards", .where = path_.string(), .got = "'" + name + "'"});
  }
  for (const auto& [key, value] : file->metadata()) metadata_.emplace(key, value);
  files_.push_back(std::move(file));
}

bool ForeignTensors::knows(const fs::path& path) {
  constexpr std::array kEndings{".safetensors", ".pt", ".pth", ".bin", ".gguf"};
  std::string ending = path.extension().string();
  for (const char* known : kEndings) {
    if (ending == known) return true;
  }
  return path.filename().string().ends_with(kIndexEnding);
}

ForeignTensors ForeignTensors::open(const fs::path& path) {
  ForeignTensors out(path);
  if (std::unique_ptr<TensorFile> file = open_file(path)) {
    out.add(std::move(file));
    return out;
  }
  if (!path.filename().string().ends_with(kIndexEnding)) unknown_kind(path);
  Json index = read_json(path);
  for (const std::string& shard : shards_of(index, path.string())) {
    std::unique_ptr<TensorFile> file = open_file(path.parent_path() / shard);
    if (!file) unknown_kind(path.parent_path() / shard);
    out.add(std::move(file));
  }
  for (const auto& [tensor, file] : index.at("weight_map").items()) {
    if (out.contains(tensor)) continue;
    throw InputError({.what = "missing tensor",
                      .where = (path.parent_path() / file.get<std::string>()).string(),
                      .expected = fmt::format("'{}', as {} says", tensor, path.filename().string())});
  }
  return out;
}

std::vector<std::string> ForeignTensors::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

const ForeignTensors::Place& ForeignTensors::at(std::string_view name) const {
  auto found = places_.find(name);
  if (found != places_.end()) return found->second;
  throw InputError({.what = "missing tensor",
                    .where = path_.string(),
                    .expected = fmt::format("'{}'", name),
                    .hint = fmt::format("the checkpoint has {} tensors", places_.size())});
}

Tensor ForeignTensors::tensor(std::string_view name) {
  const Place& place = at(name);
  return place.file->tensor(place.name);
}

Shape ForeignTensors::shape(std::string_view name) const {
  const Place& place = at(name);
  return place.file->shape(place.name);
}

void ForeignTensors::release() {
  for (const auto& file : files_) file->release();
}

int64_t ForeignTensors::elements() const {
  int64_t n = 0;
  for (const auto& [name, place] : places_) n += place.file->shape(place.name).elements();
  return n;
}

std::string ForeignTensors::said(std::string_view key) const {
  auto found = metadata_.find(key);
  return found == metadata_.end() ? "" : found->second;
}

bool ForeignTensors::enter(std::string_view prefix) {
  std::map<std::string, Place, std::less<>> inside;
  for (const auto& [name, place] : places_) {
    if (name.starts_with(prefix)) inside.emplace(name.substr(prefix.size()), place);
  }
  if (inside.empty()) return false;
  places_ = std::move(inside);
  return true;
}

void ForeignTensors::strip_wrappers() {
  std::map<std::string, Place, std::less<>> stripped;
  for (const auto& [name, place] : places_) {
    std::string_view rest = name;
    for (bool found = true; found;) {
      found = false;
      for (std::string_view wrapper : {"module.", "_orig_mod."}) {
        if (!rest.starts_with(wrapper)) continue;
        rest.remove_prefix(wrapper.size());
        found = true;
      }
    }
    if (stripped.emplace(std::string(rest), place).second) continue;
    throw InputError({.what = "two tensors of one name",
                      .where = path_.string(),
                      .got = fmt::format("'{}' with and without a wrapper's prefix", rest)});
  }
  places_ = std::move(stripped);
}

fs::path find_weights(const fs::path& folder) {
  constexpr std::array kNames{"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                              "pytorch_model.bin.index.json", "weights.safetensors"};
  for (const char* name : kNames) {
    if (fs::is_regular_file(folder / name)) return folder / name;
  }
  std::string expected;
  for (const char* name : kNames) expected += fmt::format("{}{}", expected.empty() ? "" : ", ", name);
  throw InputError({.what = "no weights in the folder", .where = folder.string(), .expected = "one of " + expected});
}

}  // namespace tandem
