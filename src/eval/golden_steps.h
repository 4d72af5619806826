// Generation that a golden case records step by step (gen.safetensors; YOCO's cases): prompts read in pieces, then one
// token per sequence and step, alone and in a batch of prompts of different lengths.
#pragma once

#include "eval/parity.h"

namespace tandem {

// Adds the logits of every step, and the number of tokens that a greedy choice gets wrong, to `out`.
void check_steps(Context& ctx, ParityCollector& out, const GoldenCase& c, const Precision& precision, bool judge);

}  // namespace tandem
