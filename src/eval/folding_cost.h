// What writing with folds costs, measured on the passes of generation: the dial's other side, beside the loss that
// evaluate() gives for the same blocks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "arch/model.h"

namespace tandem {

// One block: what was written, and the fold that made it part of what is read.
struct FoldingCycle {
  int64_t tokens = 0;
  double write_seconds = 0;
  double fold_seconds = 0;
  // Whole pages, the mean over the tokens: what writing needs, and what is held in all.
  double mean_bytes_live = 0;
  double mean_bytes_with_encoder = 0;
  int64_t bytes_after_fold = 0;  // held in all before what only reading needs is dropped again

  double seconds_per_token() const { return (write_seconds + fold_seconds) / static_cast<double>(tokens); }
};

// A sequence of random tokens that writes one block after the other, always in the same place.
class FoldingLoad {
 public:
  static constexpr int64_t kUnfoldedTokens = 16;  // of a cycle without a fold

  // Tokens that the model's positions must have room for.
  static int64_t positions(int64_t context, int64_t longest_block) {
    return context + std::max(longest_block, kUnfoldedTokens);
  }

  // Reads `context` tokens. `encoder` says what becomes of the encoder's state between folds. Tape and model must
  // outlive the load; the tape must not record.
  FoldingLoad(Tape& tape, Model& model, EncoderState encoder, int64_t context);

  // Writes a block whose middle stands at position `context`, so that blocks of every length meet the same mean
  // context, folds it, and forgets both. `block_tokens` is at most the context; 0: kUnfoldedTokens without a fold.
  FoldingCycle cycle(int64_t block_tokens);

  // Multiplications and additions of all matrix products and attentions of a cycle, counted by the kernels, per token.
  double flops_per_token(int64_t block_tokens);

 private:
  Tape& tape_;
  Model& model_;
  int64_t context_;
  std::unique_ptr<Caches> caches_;
  std::unique_ptr<State> read_;  // what was read, whole
  std::vector<int32_t> ids_;
  Storage logits_;  // [1, V]
};

}  // namespace tandem
