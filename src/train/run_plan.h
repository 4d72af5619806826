// A run that is looked at and not begun: train --dry-run.
#pragma once

#include <cstdint>
#include <string>

#include "base/json_fwd.h"
#include "train/estimate.h"
#include "train/run_config.h"
#include "train/trainer.h"

namespace tandem {

struct ParameterCounts {
  int64_t embedding = 0;  // of the muP groups
  int64_t matrix = 0;
  int64_t vector = 0;
  int64_t total() const { return embedding + matrix + vector; }
};

struct RunPlan {
  RunConfig config;  // resolved: with the vocabulary and all overrides
  ParameterCounts parameters;
  std::string precision;
  std::string isa;
  int64_t steps_done = 0;       // in the run folder, if there is one
  int64_t training_tokens = 0;  // of the text
  double flops_per_token = 0;   // forward and backward
  RunEstimate estimate;

  int64_t tokens() const { return estimate.total_steps * config.tokens_per_step(); }
  double flops() const { return flops_per_token * static_cast<double>(tokens()); }
};

// Reads the text, builds the model and trains on a few rows without an update. Leaves no files: tokenizer and shards
// are taken from the run folder or the cache when they are there, else made in a temporary folder. Errors are those of
// train(), that of another run's folder included.
RunPlan plan_run(Context& ctx, const RunConfig& config, const TrainHooks& hooks);

OrderedJson to_json(const RunPlan& plan);

// Several lines for people.
std::string report(const RunPlan& plan);

}  // namespace tandem
