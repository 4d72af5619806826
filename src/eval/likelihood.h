// Log-probabilities of continuations.
#pragma once

#include <cstdint>
#include <vector>

#include "arch/model.h"

namespace tandem {

struct Continuation {
  std::vector<int32_t> context;  // at least one token: BOS, when nothing else
  std::vector<int32_t> tokens;   // at least one
};

struct ContinuationScore {
  double log_probability = 0;  // nats, summed over the continuation's tokens
  bool greedy = true;          // every token had the largest logit
};

// The model reads a context as a text that it continues (infer/generator.h, Prompt::continue_text): whatever precedes
// its last token is prefilled, and that token opens. Context and continuation together must fit into max_seq_len + 1
// tokens. `tape` must not record.
std::vector<ContinuationScore> score_continuations(Model& model, Tape& tape,
                                                   const std::vector<Continuation>& continuations);

// Whether a continuation fits into the model's positions: its last token is predicted, not read.
bool fits(const Model& model, const Continuation& continuation);

}  // namespace tandem
