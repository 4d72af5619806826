// The golden case `collators`: what the authors' packing, boundary, SFT, prefix-LM and span-corruption code does to
// small inputs, and statistics of its random choices. Integers only; nothing is computed by a model.
#pragma once

#include "eval/parity.h"

namespace tandem {

// True when the folder holds such a case (collators.json).
bool has_golden_collators(const std::filesystem::path& folder);

// Every recorded row, given the recorded random choice, must be equal: one class per class of the authors' code, its
// error the number of values that differ. Where the folder has statistics, draws of ours are compared with them: one
// class per file, its error a chi-square statistic over the bound that chance exceeds once in a million. InputError for
// files that are no such case, and for classes of collators that this version does not know.
ParityReport check_collators(const std::filesystem::path& folder);

}  // namespace tandem
