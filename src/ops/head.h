// The end of a language model: output projection, cross-entropy and the gradients of both, in chunks of tokens, so that
// the logits of a batch never exist at once.
#pragma once

#include <span>

#include "ops/tape.h"

namespace tandem::ops {

struct LossSum {
  double sum = 0;       // nats, summed over labelled tokens
  int64_t tokens = 0;   // number of labelled tokens
  int64_t correct = 0;  // of them, those whose label has the largest logit; counted only when asked for
};

struct HeadOptions {
  double multiplier = 1;  // logits are multiplied by this (muP)
  bool count_correct = false;
  Tensor token_loss;  // [T], receives each token's loss (0 where ignored) when defined
  // [T] or empty: 1 where the label has the largest logit, else 0; filled when count_correct is set.
  std::span<uint8_t> token_correct;
};

// x [T, d] activation, weight [V, d] (tied to the embedding or not), labels [T] (kernels::kIgnoredLabel: not counted).
// On a recording tape the gradient of the SUM of the losses is computed on the way, chunk by chunk: weight.grad is
// complete and x has its gradient when this returns; backward() goes on from there.
// InputError for a label outside 0..V-1.
LossSum head_loss(Tape& tape, Var x, const Weight& weight, std::span<const int32_t> labels, const HeadOptions& options);

// logits [T, V] f32 = multiplier * x weight^T, for the few rows that inference needs.
void head_logits(Tape& tape, const Tensor& logits, Var x, const Weight& weight, double multiplier);

}  // namespace tandem::ops
