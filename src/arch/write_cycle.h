// How the cost of writing a token repeats.
#pragma once

#include <cstdint>

#include "arch/config.h"

namespace tandem {

// Passes that write one token each cost the same again after `length` of them: 1, or the tokens of a block where
// another stack runs once per block. Behind so many `tokens`, `until` more lead to where a cycle begins.
struct WriteCycle {
  int64_t length = 1;
  int64_t until = 0;
};
WriteCycle write_cycle(const ModelConfig& config, int64_t tokens);

}  // namespace tandem
