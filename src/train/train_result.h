// What a training run came to, and its JSON.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/json_fwd.h"

namespace tandem {

struct HeldOutScore {
  double loss = 0;           // nats per labelled token
  double bits_per_byte = 0;  // of the labelled tokens' text
  double accuracy = 0;       // share of labelled tokens whose logit is the largest
};

// What rank 0 did for the others and they for it, in this start.
struct CommunicationResult {
  int ranks = 1;
  bool zero = false;
  double bytes_per_step = 0;  // sent by all ranks together, on average over the steps
  double wait_seconds = 0;    // of rank 0, inside steps: what did not run beside its computing
  double step_seconds = 0;    // of rank 0, in those steps
};

// What ran beside the steps of a start, and how long they waited for it. The checkpoint at the end is not counted: no
// step is left to run beside it. Of rank 0.
struct OverlapResult {
  int64_t steps = 0;
  double step_seconds = 0;             // of steps and their checkpoints, without validations
  double data_seconds = 0;             // in which batches were made
  double data_wait_seconds = 0;        // of step_seconds: waiting for a batch
  int64_t checkpoints = 0;             // written beside steps
  double checkpoint_seconds = 0;       // in which they were written
  double checkpoint_wait_seconds = 0;  // of step_seconds: collecting what goes into them, and waiting for the disk
};

struct TrainResult {
  enum class End { finished, stopped, was_finished };
  End end = End::finished;
  int64_t steps = 0;
  int64_t total_steps = 0;
  int64_t tokens = 0;
  double loss = 0;  // of the last step that changed the parameters
  std::optional<HeldOutScore> heldout;
  double tokens_per_second = 0;                      // of this start, validations and checkpoints included
  double seconds = 0;                                // spent training, earlier starts included
  std::filesystem::path model;                       // the model folder
  std::optional<CommunicationResult> communication;  // of several ranks
  std::optional<OverlapResult> overlap;
};

// The object that `train --json` prints.
OrderedJson to_json(const TrainResult& result);

// What to_json made of a result that has come to its end, in the fields of a run that was finished before.
TrainResult finished_result(const Json& json);

// The fields heldout_loss, heldout_bits_per_byte and heldout_accuracy.
OrderedJson to_json(const HeldOutScore& score);
HeldOutScore score_from_json(const Json& json);

}  // namespace tandem
