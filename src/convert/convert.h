// Models from one project's files to another's: `tandem convert`.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/model.h"
#include "convert/checkpoint_map.h"

namespace tandem {

enum class ModelFormat {
  tandem,       // a model folder
  authors,      // a checkpoint of the papers' own code: one file of tensors
  huggingface,  // a folder of the Llama family as transformers has it
  gguf,         // a file of the Llama family as llama.cpp has it
};
std::string_view format_name(ModelFormat format);
std::optional<ModelFormat> format_of(std::string_view name);

// Of the tensors that are written. GGUF files alone have the last two, blocks of 32 with a scale; their norms and
// biases are f32 always.
enum class WeightType { float32, bfloat16, float16, q8_0, q4_0 };
std::string_view weight_type_name(WeightType type);
std::optional<WeightType> weight_type_of(std::string_view name);

struct ConvertOptions {
  std::filesystem::path source;
  std::filesystem::path destination;
  std::optional<ModelFormat> from;  // none: by what is there
  std::optional<ModelFormat> to;    // none: by the destination's ending; a folder becomes a model folder
  WeightType type = WeightType::float32;
  std::filesystem::path tokenizer;  // taken along instead of the source's; empty: that one; "none": none
  int64_t max_length = 0;           // more than 0: longest sequence of the new model
  bool overwrite = false;
  // Of the tensors in one file of a Hugging Face folder, at most: as many files as that takes.
  int64_t shard_bytes = 5'000'000'000;
  // The model's config where the source does not say it itself (checkpoints of the authors).
  std::optional<ModelConfig> config;
  // Reads a config.json that is none of ours nor of transformers; used for a source folder of the authors.
  std::function<ModelConfig(const std::filesystem::path&)> read_config;
};

struct ConvertSummary {
  ModelFormat from = ModelFormat::tandem;
  ModelFormat to = ModelFormat::tandem;
  ModelConfig config;  // of the model that was written
  int64_t parameters = 0;
  int64_t bytes = 0;               // of all files that were written
  std::string tokenizer;           // file name; empty: none was written
  std::vector<std::string> notes;  // what the new files do not say as the old ones did
};

// InputError for a source that does not hold together, a model that the new format does not have, and a destination
// that is taken: then nothing is left behind.
ConvertSummary convert(const ConvertOptions& options, const ConvertProgress& progress);

}  // namespace tandem
