// Whether it pays to close the block that a model writes and to let its encoder read it.
#pragma once

#include <cstdint>

#include "arch/model.h"

namespace tandem {

struct FoldCosts {
  double written_bytes = 0;  // of cache that a token of the block costs every later token
  double read_bytes = 0;     // and a token that was read
  double read_flops = 0;     // of reading a token
  double weight_bytes = 0;   // that a pass which reads goes through
};
// Of whole pages and sizes: the same for every state of the model.
FoldCosts fold_costs(const Model& model);

// The length of blocks at which writing `tokens` tokens costs least, a whole number of pages; kNeverFold when not
// closing them costs no more. A function of sizes alone, so that the same request always gets the same tokens.
// kFlopsPerByte: how much work takes the time of reading a byte; an assumption, the same for all machines.
inline constexpr double kFlopsPerByte = 10;
int64_t fold_by_cost(const FoldCosts& costs, int64_t tokens);

}  // namespace tandem
