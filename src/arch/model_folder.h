// A model on disk: config.json (arch, sizes, conventions), model.safetensors, tokenizer.json or tokenizer.model. What
// `train` writes is what `generate`, `eval` and `serve` read.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "arch/model.h"

namespace tandem {

// Writes the three files; each is whole or absent, config.json last. `tokenizer` are the bytes of the tokenizer's file
// and may be empty (a model without text); then none is written. `tokenizer_name` is Tokenizer::file_name().
void save_model(const std::filesystem::path& folder, const Model& model, const std::string& tokenizer,
                const std::string& tokenizer_name = "tokenizer.json");

// The same with the weights as the model's parameters were packed: bf16 tensors, or steps and scales of int8 or int4
// (kernels/packed_weight.h) as 'NAME' and 'NAME.scales'. LogicError for a model that was not packed.
void save_packed_model(const std::filesystem::path& folder, const Model& model, const std::string& tokenizer,
                       const std::string& tokenizer_name = "tokenizer.json");

// The config of a model folder. InputError when the folder or its config.json is missing or malformed.
ModelConfig read_model_config(const std::filesystem::path& folder);

// Reads config and weights. InputError when a tensor is missing, superfluous, or of another shape or type, and for
// quantised weights when gradients are wanted.
std::unique_ptr<Model> load_model(const std::filesystem::path& folder, const Precision& precision,
                                  ParameterStore::Gradients gradients);
// The same with another config than the folder's: its choices of blocks and the length of its rows may differ.
std::unique_ptr<Model> load_model(const std::filesystem::path& folder, const ModelConfig& config,
                                  const Precision& precision, ParameterStore::Gradients gradients);

// The masters of all parameters to and from one safetensors file, under the parameters' names. Reading adopts what a
// file holds quantised.
void write_parameters(const std::filesystem::path& file, const ParameterStore& parameters);
void read_parameters(const std::filesystem::path& file, ParameterStore& parameters);

}  // namespace tandem
