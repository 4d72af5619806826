// A training run from its config to its model folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "arch/model.h"
#include "base/error.h"
#include "data/heldout.h"
#include "dist/communicator.h"
#include "train/run_config.h"
#include "train/run_data.h"
#include "train/train_result.h"

namespace tandem {

// The run's loss or gradients left the finite numbers and did not come back.
class Diverged : public JobError {
 public:
  using JobError::JobError;
};

struct TrainProgress {
  int64_t step = 0;
  int64_t total_steps = 0;  // 0: only the clock ends the run
  double fraction = 0;      // of the run that is done, 0..1
  int64_t tokens = 0;
  double loss = 0;  // of this step
  double learning_rate = 0;
  double grad_norm = 0;
  int64_t skipped = 0;           // steps without update so far
  int64_t rollbacks = 0;         // to an earlier checkpoint, after a divergence
  double tokens_per_second = 0;  // of the last few steps, all ranks together
  double seconds = 0;            // spent training, earlier starts included
  double seconds_left = 0;       // estimate
};

struct TrainHooks {
  // Scores the model on the held-out rows. The tape is in no-grad mode. Empty: no validation.
  std::function<HeldOutScore(Model& model, Tape& tape, const HeldOut& rows)> validate;
  // More about the model at a validation: numbers and texts for its line of the log. Nothing of it may change the run.
  std::function<OrderedJson(Model& model, Tape& tape, const RunData& data)> evaluate;
  int64_t validation_rows = 4;                          // that validate() takes in one pass, for the estimate of memory
  std::function<void(const TrainProgress&)> progress;   // after every step
  std::function<void(const std::string& line)> notice;  // resumed, validated, ...; empty: log::info
  std::function<bool()> should_stop;                    // asked after every step
  // Ranks that train together, each calling train() with the same config; null: alone. Rank 0 validates, writes and
  // reports; any rank's should_stop stops all of them behind the same step.
  Communicator* ranks = nullptr;
};

// Bytes that `ranks` ranks together send in a step of the run: a prediction of CommunicationResult::bytes_per_step.
int64_t predicted_step_bytes(const RunConfig& config, const ParameterStore& parameters, int ranks);

// Trains into config.output, going on from its newest whole checkpoint. With `should_stop` the run ends behind the step
// in progress, saves a checkpoint and returns `stopped`. A run that diverges goes back to its last good checkpoint
// (train/guard.h).
// The same config gives the same bits in model/model.safetensors, stopped and resumed or not, for any number of
// threads; runs bounded by max_seconds are the exception, because their learning rate follows the clock. Several ranks
// (TrainHooks::ranks) form sums over rows in another order than one does: their bits are the same for the same number
// of ranks, with or without config.zero; a run may go on with another number of them. InputError: config, text or
// folder cannot be used. JobError: the run cannot fit into memory, the disk refuses, or the run diverges once more than
// guard.max_rollbacks times; earlier checkpoints stay.
TrainResult train(Context& ctx, const RunConfig& config, const TrainHooks& hooks);

// The same on text that is prepared already (several runs on one corpus).
TrainResult train(Context& ctx, const RunConfig& config, const RunData& data, const TrainHooks& hooks);

}  // namespace tandem
