// How well a model predicts text: loss, perplexity, bits per byte, accuracy.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "arch/model.h"
#include "data/heldout.h"

namespace tandem {

// Sums over the labelled tokens at positions [begin, end) of their rows.
struct PositionLoss {
  int64_t begin = 0;
  int64_t end = 0;
  double loss_sum = 0;  // nats
  int64_t tokens = 0;

  double loss() const;  // nats per token; not a number where there are none
};

// Sums over labelled tokens, and what follows from them.
struct EvalResult {
  double loss_sum = 0;  // nats
  int64_t tokens = 0;
  int64_t correct = 0;                    // tokens to which the model gave the largest logit
  int64_t text_bytes = 0;                 // behind the labelled tokens
  std::vector<PositionLoss> by_position;  // as EvalTask::position_ends asks

  double loss() const;           // nats per token
  double perplexity() const;     // exp(loss)
  double bits_per_byte() const;  // loss_sum / ln 2 / text_bytes; 0 when special tokens are all there is
  double accuracy() const;       // 0..1
};

// How the rows are read and what is scored.
struct EvalTask {
  // None: that of the rows; if they are plain text, what the architecture learns from it by default.
  std::optional<Objective> objective;
  // prefix_lm: the share of each row that is read before the rest is scored; 0: a drawn length, as in training.
  double prefix_share = 0;
  // text: a block opens every so many tokens of a row, whatever prepare() drew: what writing the row with a fold every
  // so many tokens is. 0: blocks as drawn. Architectures without blocks read the same either way.
  int64_t block_tokens = 0;
  // Ascending ends of ranges of positions, the first from 0 on, whose losses are also summed apart. Positions behind
  // the last end are in none of them.
  std::vector<int64_t> position_ends;
};

// Reads all rows. What prepare() draws comes from a fixed stream, one set per pass of a few rows: every evaluation of
// the same rows, in training or by the verb eval, reads the same blocks, first parts or stretches. In prefix-LM all
// architectures are scored on the same tokens: those behind the first part, without BOS and EOS. `tape` must not
// record. InputError for an objective that the model does not learn.
EvalResult evaluate(Model& model, Tape& tape, const HeldOut& rows, const EvalTask& task = {});

}  // namespace tandem
