// Tensors by name, from whatever file holds them: safetensors (one file or shards), PyTorch's archives, GGUF.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace tandem {

// A file of one kind.
class TensorFile {
 public:
  virtual ~TensorFile() = default;
  virtual std::vector<std::string> names() const = 0;
  virtual Shape shape(const std::string& name) const = 0;
  virtual Tensor tensor(const std::string& name) = 0;
  virtual void release() {}
  virtual std::map<std::string, std::string> metadata() const { return {}; }
};

// An open checkpoint: a file, or several as one.
class ForeignTensors {
 public:
  // By the name's ending: *.safetensors, *.pt, *.pth, *.bin, *.gguf, or an *.index.json that lists the shards beside
  // it. InputError for a file that is missing, damaged, or of another kind, and for shards that do not hold what the
  // index says.
  static ForeignTensors open(const std::filesystem::path& path);
  // Whether open() knows the ending.
  static bool knows(const std::filesystem::path& path);
  explicit ForeignTensors(std::filesystem::path path) : path_(std::move(path)) {}
  void add(std::unique_ptr<TensorFile> file);

  const std::filesystem::path& path() const { return path_; }
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const { return places_.find(name) != places_.end(); }
  // A view, valid until release(), never to be written to. InputError when there is no tensor of this name.
  Tensor tensor(std::string_view name);
  Shape shape(std::string_view name) const;
  // Frees what was converted or unpacked for tensor().
  void release();
  int64_t elements() const;  // of all tensors
  // What the file says beside its tensors, as text; empty where it does not.
  std::string said(std::string_view key) const;

  // A checkpoint with more in it than a model: keeps the tensors whose names begin with `prefix`, and takes it off.
  // False when there are none; then nothing changes.
  bool enter(std::string_view prefix);
  // Takes "module." and "_orig_mod." (what torch's wrappers for several devices and for compiled models leave) off the
  // names' beginnings. InputError when two tensors then have one name.
  void strip_wrappers();

 private:
  struct Place {
    TensorFile* file = nullptr;
    std::string name;  // in the file
  };
  const Place& at(std::string_view name) const;

  std::filesystem::path path_;
  std::vector<std::unique_ptr<TensorFile>> files_;
  std::map<std::string, Place, std::less<>> places_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

// A folder's file of weights: model.safetensors, pytorch_model.bin, the index of either, or weights.safetensors.
// InputError when there is none.
std::filesystem::path find_weights(const std::filesystem::path& folder);

}  // namespace tandem
