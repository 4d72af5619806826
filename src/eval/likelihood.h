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
// its last token is read first, and that token opens. Many continuations share one pass; the scores are those of
// decoding token after token, within rounding. They must fit (below). `tape` must not record.
std::vector<ContinuationScore> score_continuations(Model& model, Tape& tape,
                                                   const std::vector<Continuation>& continuations);

// Whether context and continuation fit into the model's positions.
bool fits(const Model& model, const Continuation& continuation);

}  // namespace tandem
