// safetensors: eight bytes with the length of a JSON header, the header, then the tensors' bytes without gaps
// (https://huggingface.co/docs/safetensors, "Format"). Readers trust nothing: every name, type, shape and
// offset is checked before the first tensor is handed out.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "formats/named_tensor.h"
#include "tensor/tensor.h"

namespace tandem {

// An open file. Tensors are views into its memory map: valid while the object lives, never to be written to.
// Those that do not start at a multiple of their element's size (other writers may leave them so) are copied
// once, when the file is opened.
class SafetensorsFile {
 public:
  // InputError naming file, tensor, got and expected when the file is missing, truncated or not well-formed,
  // or holds a type or a number of dimensions that Tensor cannot hold. BOOL is read as u8.
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return map_.path(); }
  // In the order of their bytes in the file.
  const std::vector<std::string>& names() const { return names_; }
  bool contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  // InputError when the file has no tensor of this name.
  Tensor tensor(std::string_view name) const;
  // The strings under "__metadata__"; empty when there are none.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  SafetensorsFile() = default;

  MappedFile map_;
  std::vector<std::string> names_;
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::vector<std::byte>> copies_;  // of misaligned tensors; each allocation is aligned for any element
};

using SafetensorsEntry = NamedTensor;

// Writes the file atomically (base/file.h), tensor by tensor, with no second copy of the data in memory.
// Tensors are ordered by element size (largest first, so that all are aligned), then by name: the bytes of
// the file do not depend on the order of `entries`. The header is padded with spaces to a multiple of 8
// bytes. Rows with a stride are packed; bf16_in_f64 is written as F64. LogicError on duplicate or reserved
// names, JobError when the disk refuses.
void write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace tandem
