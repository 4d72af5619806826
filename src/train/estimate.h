// What a run will need, before its first step: memory, time, disk.
#pragma once

#include <cstdint>
#include <filesystem>

#include "arch/model.h"
#include "base/json_fwd.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/run_config.h"
#include "train/run_data.h"

namespace tandem {

struct TimeEstimate {
  double step_seconds = 0;
  double total_seconds = 0;  // steps still to do and validations; checkpoints are left out
  double tokens_per_second = 0;
};

// Bytes at the end of the run.
struct DiskEstimate {
  int64_t checkpoints = 0;  // those that stay at most, and the one being written
  int64_t model = 0;
  int64_t tokens = 0;  // shards
  int64_t logs = 0;    // log.jsonl and TensorBoard's files
  int64_t free = 0;    // on the file system of the run folder now

  int64_t total() const { return checkpoints + model + tokens + logs; }
};

struct RunEstimate {
  int64_t total_steps = 0;  // 0: only the clock ends the run
  MemoryEstimate memory;
  int64_t machine_memory = 0;  // what there is; 0: unknown
  TimeEstimate time;
  DiskEstimate disk;
};

OrderedJson to_json(const RunEstimate& estimate);

struct EstimateInput {
  Context& ctx;
  const RunConfig& config;
  const RunData& data;
  Model& model;  // with gradients; parameters stay as they are, gradients are written over
  const Optimizer& optimizer;
  int64_t total_steps = 0;
  int64_t steps_done = 0;
  int64_t heldout_rows = 0;     // of a validation; 0: no validation
  int64_t validation_rows = 0;  // of them, in one pass
  // Several ranks: `config` is that of one rank's share of a step.
  int ranks = 1;                 // all of them
  int machine_ranks = 1;         // on this machine, which have its memory together
  int64_t moment_elements = -1;  // whose moments this rank keeps; -1: all
  int64_t exchange_bytes = 0;    // memory for what other ranks send
};

// Memory first (train/memory.h): JobError, before anything large is touched, when the run can't fit into this machine's
// (config.check_memory). Then trains on the run's first tokens without an update: up to kProbeTokens in passes of
// growing size, the last size timed.
RunEstimate estimate_run(const EstimateInput& input);

inline constexpr int64_t kProbeTokens = 8192;

// The part that needs no pass: JobError when parameters, gradients and moments alone are more than the machine's
// memory (config.check_memory). For models whose memory was reserved and not yet touched.
// `machine_ranks`: processes that will have it together.
void check_model_memory(const RunConfig& config, const ParameterStore& parameters, int machine_ranks = 1);

// What a run writes at the very least besides its tokens: a checkpoint and the model.
int64_t least_output_bytes(const RunConfig& config);

// "1.4 GiB", "310 MiB", "12 KiB"
std::string bytes_text(int64_t bytes);

}  // namespace tandem
