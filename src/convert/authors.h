// Checkpoints of the papers' own code: the double decoder and its baselines, YOCO, the Block Transformer.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arch/config.h"
#include "convert/checkpoint_map.h"
#include "formats/authors_names.h"

namespace tandem {

// Whose code a model of this config is checked against; not for a block_transformer.
AuthorsModel authors_model(const ModelConfig& config);

// Their state_dict for a model of this config. InputError, naming the field, for a model that their code does not have.
CheckpointMap authors_map(const ModelConfig& config, const std::string& where);

// The key under which their training scripts save the state_dict; empty: it is the whole file.
std::string authors_key(const ModelConfig& config);

// Second names of tied matrices in their state_dict, and the names of what they are.
std::vector<std::pair<std::string, std::string>> authors_aliases(const ModelConfig& config);

// Leaves only the state_dict of what a training script saved, and the names of its parameters.
void enter_state_dict(ForeignTensors& tensors);

// The config of a checkpoint that says it: what the double decoder's training scripts save as "hparams", Mu's as
// "model_config". Nothing where there is neither. InputError for one that contradicts itself.
std::optional<ModelConfig> config_in_checkpoint(const ForeignTensors& tensors);

}  // namespace tandem
