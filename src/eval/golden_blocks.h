// Golden cases of the block transformer (github itsnamgyu/block-transformer). One case has a training pass with its
// gradients and, beside it, greedy generation: with the positions of training, and with those of the authors' program.
#pragma once

#include <filesystem>

#include "eval/parity.h"

namespace tandem {

bool is_golden_block_case(const Json& json);
ModelConfig golden_block_config(const Json& json, const std::string& where);

// As load_golden_weights().
void load_golden_blocks(const std::filesystem::path& file, Model& model);

// Training pass, gradients, and both ways of generation where the case has gen.safetensors.
ParityReport check_blocks(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge);

}  // namespace tandem
