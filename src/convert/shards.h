// A checkpoint in several files, as Hugging Face has them: model-00001-of-00003.safetensors ... and
// model.safetensors.index.json, which says where each tensor is (https://huggingface.co/docs/transformers, "Sharded
// checkpoints").
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "formats/named_tensor.h"

namespace tandem {

// Writes model.safetensors where all tensors together have at most `most_bytes`, else as many files as that takes and
// the index, which comes last. The tensors keep their order; one that is larger has a file of its own.
void write_shards(const std::filesystem::path& folder, std::span<const NamedTensor> tensors,
                  const std::map<std::string, std::string>& metadata, int64_t most_bytes);

}  // namespace tandem
