// Training steps on random tokens, timed: what bench train measures.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "base/profile.h"
#include "dist/communicator.h"
#include "kernels/peak.h"
#include "train/memory.h"
#include "train/run_config.h"

namespace tandem::app {

// What the timed steps, all of them steady, asked for besides arithmetic: the budget in docs/performance.md.
struct StepCosts {
  std::vector<double> page_faults, major_page_faults;  // of each step, of the whole process
  int64_t arena_allocations = 0;                       // of all steps: from the system, by arenas and pools
  int64_t heap_bytes = 0;                              // of all steps: growth of the heap
};

struct TrainingSpeed {
  std::vector<double> step_seconds;
  std::vector<ProfileEntry> ops;
  std::vector<ProfileEvent> events;
  double profiled_seconds = 0;
  StepCosts costs;
  kernels::Peak peak;
  double peak_flops = 0;  // of the precision, of all ranks together
  double rank_peak_flops = 0;
  double flops_per_token = 0;
  int64_t tokens_per_step = 0;
  int64_t parameters = 0;
  int64_t non_embedding_parameters = 0;
  int64_t peak_rss_bytes = 0;
  MemoryEstimate predicted;
  std::string_view precision;
  // Of several ranks, in the measured steps.
  int ranks = 1;
  bool zero = false;
  int64_t bytes_per_step = 0;
  double wait_seconds = 0;
};

struct SpeedOptions {
  std::string config;   // by which errors name it
  double seconds = 10;  // of steps, about
  int64_t min_steps = 3;
  int64_t documents = 0;  // tokens of a document, of which a row has several that do not see each other; 0: one
  bool profile = true;    // one more step, whose operations are listed
};

// InputError where rows of `row` tokens are not made of whole documents.
void check_documents(int64_t documents, int64_t row);

TrainingSpeed measure_training(Communicator& ranks, const RunConfig& run, const SpeedOptions& options);

// The figures of one measurement; `ops` with their bounds where there was a profile.
OrderedJson to_json(const TrainingSpeed& speed);

}  // namespace tandem::app
