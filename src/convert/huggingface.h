// config.json of Hugging Face's Llama family: LlamaForCausalLM, MistralForCausalLM and Qwen2ForCausalLM, read as a
// decoder's config and written from one.
#pragma once

#include <string>

#include "arch/config.h"
#include "base/json.h"
#include "convert/checkpoint_map.h"

namespace tandem {

// Whether it is some config.json of transformers, of whatever architecture.
bool is_huggingface_config(const Json& json);

// InputError, naming the field, for an architecture, activation, rotary scaling or any other choice that we do not
// have. A window of attention must not be shorter than the rows, which are `longest` tokens long where that is more
// than 0.
ModelConfig huggingface_config(const Json& json, const std::string& where, int64_t longest = 0);

// The config.json of a decoder of the Llama family; `dtype`: its tensors' type as torch calls it. InputError, naming
// the field, for a config that the family does not have.
OrderedJson huggingface_json(const ModelConfig& config, const std::string& dtype, const std::string& where);

// The state_dict of such a model.
CheckpointMap huggingface_map(const ModelConfig& config);

// muP's scales of scores and logits, which the family does not have, go into the rows of the queries and into the
// weight of the output norm. (Both factors are 1 without muP; then no bit changes.)
void fold_scales(const ModelConfig& config, ParameterStore& parameters);

// Refuses configs that are not of the Llama family, as huggingface_json() and the GGUF writer do.
void check_llama_family(const ModelConfig& config, const std::string& where);

}  // namespace tandem
