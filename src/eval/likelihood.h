// Log-probabilities of continuations.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "arch/model.h"

namespace tandem {

struct Continuation {
  std::vector<int32_t> context;  // at least one token: BOS, when nothing else
  std::vector<int32_t> tokens;   // at least one
};

struct TokenScore {
  double log_probability = 0;  // nats, behind everything that stands before the token
  bool largest = false;        // no token had a larger logit, and of equal ones it has the smallest id
};

struct ContinuationScore {
  double log_probability = 0;  // the sum
  bool greedy = true;          // every token had the largest logit
  std::vector<TokenScore> tokens;
};

// The model reads a context as a text that it continues (infer/generator.h, Prompt::continue_text): whatever precedes
// its last token is read, and that token opens what is written. A score is that of generating: nothing of a
// continuation was read when its first token is scored, and a token is scored before it is written.
//
// Many continuations share a pass, and neighbours with equal contexts share what was read. With packed weights
// (ParameterStore::pack) a score is the same bits whatever stands beside it, in this call and in the pass.
//
// They must fit (below). `tape` must not record. `on_scored` is called after every pass with the number of
// continuations that are done; what it throws ends the call.
std::vector<ContinuationScore> score_continuations(Model& model, Tape& tape,
                                                   const std::vector<Continuation>& continuations,
                                                   const std::function<void(size_t done)>& on_scored = {});

// Whether context and continuation fit into the model's positions.
bool fits(const Model& model, const Continuation& continuation);

}  // namespace tandem
