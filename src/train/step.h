// One optimizer step out of any number of micro-batches.
#pragma once

#include <cstdint>

#include "arch/model.h"
#include "train/data_parallel.h"
#include "train/optimizer.h"

namespace tandem {

struct StepResult {
  double loss = 0;       // nats, mean over the labelled tokens of all micro-batches
  double grad_norm = 0;  // of the mean's gradient, before clipping
  int64_t tokens = 0;    // labelled tokens
  // False: loss or gradient was not finite, or no token was labelled; the parameters are as before.
  bool applied = false;
};

class TrainingStep {
 public:
  // All must outlive the step; the tape records. `ranks`: those that share the step; null: nobody else.
  TrainingStep(Model& model, Tape& tape, Optimizer& optimizer, DataParallel* ranks = nullptr)
      : model_(model), tape_(tape), optimizer_(optimizer), ranks_(ranks) {}

  // Forward and backward of one prepared micro-batch; adds the gradient of its SUM of losses to the parameters'
  // gradients. The first call after finish() clears them before. Returns the micro-batch's own loss. `last`: finish()
  // comes next; with other ranks it has to be said, for gradients are on their way to them before this returns.
  ops::LossSum accumulate(const Batch& batch, bool last = false);

  // Ends the step: gradients over the number of labelled tokens (a mean over tokens, not over micro-batches), clipping,
  // AdamW at the base rate times `rate_factor`. The gradients stay readable until the next accumulate().
  StepResult finish(double rate_factor);

 private:
  Model& model_;
  Tape& tape_;
  Optimizer& optimizer_;
  DataParallel* ranks_;
  ops::LossSum sum_;
  bool open_ = false;
};

}  // namespace tandem
