// How the cost of writing a token repeats.
#pragma once

#include <cstdint>

#include "arch/model.h"

namespace tandem {

// Passes that write one token each cost the same again after `length` of them: 1, or the tokens of a block where
// another stack runs once per block. Behind so many `tokens`, `until` more lead to where a cycle begins.
struct WriteCycle {
  int64_t length = 1;
  int64_t until = 0;
};
WriteCycle write_cycle(const ModelConfig& config, int64_t tokens);

// Bytes of a sequence's cache that the pass which wrote its last token had to read: all that it holds, with the token.
// What belongs to a stack that runs once per block counts only where the pass has opened a block.
double cache_bytes_read(const Model& model, const State& state);

}  // namespace tandem
