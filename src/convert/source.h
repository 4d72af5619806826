// A model read from any of the formats.
#pragma once

#include "convert/convert.h"

namespace tandem {

struct SourceModel {
  ModelFormat format = ModelFormat::tandem;
  // Its rows may be shorter than config says: it is there for its parameters.
  std::unique_ptr<Model> model;
  ModelConfig config;
  std::vector<int32_t> stop_ids;  // that end a text: config.eos_id first, if that is known
  std::string tokenizer;          // bytes; empty: none
  std::string tokenizer_name;
  std::vector<std::string> notes;
};

// By what is there: a config.json of ours or of transformers, or neither. InputError when there is nothing.
ModelFormat detect_format(const std::filesystem::path& source);

// The source of a conversion, everything read. InputError as convert() says.
SourceModel read_source(const ConvertOptions& options, const ConvertProgress& progress);

}  // namespace tandem
