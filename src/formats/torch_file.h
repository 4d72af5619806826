// Checkpoints of PyTorch (.pt, .pth, .bin): a zip archive with a pickle, `NAME/data.pkl`, that describes the objects,
// and the bytes of storage K in `NAME/data/K` (torch.save since PyTorch 1.6; torch/csrc/jit/serialization and
// torch/serialization.py). The pickle is read by a machine that only builds values and knows the few globals that
// tensors and dictionaries need (pickle.h): nothing in a file is ever called.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/named_tensor.h"
#include "tensor/tensor.h"

namespace tandem {

// An open file. Dictionaries and lists are flattened: {"model": {"a.weight": T}, "step": 3, "sizes": [1, 2]} has the
// tensor "model.a.weight" and the metadata step = "3", sizes.0 = "1", sizes.1 = "2".
class TorchFile {
 public:
  // InputError naming file and place when the file is missing, truncated, not such an archive or not well-formed; when
  // its pickle needs any global that is not on the list (which the message names); and when a tensor reaches beyond its
  // storage, reads an element twice, has more than 4 dimensions, or a type that Tensor cannot hold. The format before
  // PyTorch 1.6, which is no zip archive, and TorchScript programs are refused with a hint.
  static TorchFile open(const std::filesystem::path& path);
  TorchFile(TorchFile&&) noexcept;
  TorchFile& operator=(TorchFile&&) noexcept;
  ~TorchFile();

  const std::filesystem::path& path() const;
  // In the order of the dictionaries.
  const std::vector<std::string>& names() const;
  bool contains(std::string_view name) const;
  // What tensor() will return, at no cost. float16 is read as float32, int16 and int8 as int32, bool as uint8: all
  // exactly.
  DType dtype(std::string_view name) const;
  Shape shape(std::string_view name) const;
  // Contiguous. A view into the memory map where the bytes lie there as they are needed (an uncompressed storage,
  // contiguous, of a type that is not converted); otherwise a copy, made now and kept until release(). Tensors of the
  // same elements share it. Valid while the object lives; never to be written to. Not to be called by several threads
  // at once. InputError when the file has no tensor of this name, or when its bytes are damaged (checksum,
  // compression).
  Tensor tensor(std::string_view name);
  // Frees the copies: tensors handed out before are no longer valid. Who reads tensor by tensor and releases each needs
  // no more memory than the largest.
  void release();
  // Everything that is no tensor, as text: strings as they are, numbers (floating-point numbers by the shortest text
  // that reads back the same), "true" and "false", "None", types as "torch.float32", devices as "cpu".
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct Content;
  explicit TorchFile(std::unique_ptr<Content> content);

  std::unique_ptr<Content> content_;
};

using TorchPlain = std::variant<std::string, int64_t, double, bool>;

// Writes what torch.load(path, weights_only=True) reads, atomically (base/file.h) and without a second copy of the data
// in memory: a dictionary of `entries` in their order or, when `key` is not empty, {key: that dictionary}; `plain`
// beside it at the top. The storages are uncompressed and begin at multiples of 64 bytes, as torch.save leaves them.
// Tensors of the same memory, type and size share a storage. Rows with a stride are packed; bf16_in_f64 is written as
// float64. LogicError on duplicate names, JobError when the disk refuses.
void write_torch_file(const std::filesystem::path& path, std::span<const NamedTensor> entries,
                      const std::string& key = {}, const std::map<std::string, TorchPlain>& plain = {});

}  // namespace tandem
