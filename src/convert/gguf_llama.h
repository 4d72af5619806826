// GGUF files of the Llama family, as llama.cpp reads and writes them: architecture "llama", and "qwen2" where queries,
// keys and values have biases.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "arch/config.h"
#include "convert/checkpoint_map.h"
#include "formats/gguf.h"

namespace tandem {

// InputError, naming the key, for an architecture or a convention that we do not have.
ModelConfig gguf_config(GgufFile& file);

// Tokens that end a text: those of a text, of a message and of a turn, as far as the file names them. InputError for
// ids outside of the vocabulary.
std::vector<int32_t> gguf_stop_ids(const GgufFile& file, const ModelConfig& config);

// Their tensors for a model of this config. llama.cpp turns adjacent features in an architecture "llama": the rows of
// queries and keys are permuted inside heads.
CheckpointMap gguf_map(const ModelConfig& config);

// The model's part of a file's metadata. InputError, naming the field, for a config that is not of the family.
std::vector<std::pair<std::string, GgufValue>> gguf_metadata(const ModelConfig& config, GgufTensorType type,
                                                             const std::string& where);

// Divisors of the rotary frequencies (tensor rope_freqs.weight), [head_dim / 2]; undefined where none is needed.
Storage gguf_rope_divisors(const ModelConfig& config);

}  // namespace tandem
