// Names that Hugging Face's transformers gives the parameters of a decoder of the Llama family (state_dict of
// LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM) for ours.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// The parameters whose rows, in this order, are those of ours. Empty for a parameter that the family does not have.
std::vector<std::string> huggingface_parameter_names(std::string_view ours);

// Tensors of older files that are no parameters: rotary frequencies.
bool huggingface_ignores(std::string_view theirs);

}  // namespace tandem
