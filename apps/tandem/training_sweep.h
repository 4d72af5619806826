// bench train --sweep: the same training steps with one setting taking several values.
#pragma once

#include <string>
#include <vector>

#include "dist/communicator.h"
#include "training_speed.h"

namespace tandem::app {

struct TrainingSweepOptions {
  std::string config;
  std::string sweep;              // KEY=V1,V2,..
  std::vector<std::string> with;  // the same of keys that change together with it
  std::vector<std::string> overrides;
  int64_t step_tokens = 0;  // see with_step_of
  SpeedOptions speed;
  int rounds = 1;
  std::string output;  // folder; empty: none
  bool json = false;
};

// Prints, and writes, one line for each value. InputError for a sweep without values.
int training_sweep(Communicator& ranks, const TrainingSweepOptions& options);

// As many micro-batches as make up so many tokens in a step; 0: those of the config. InputError where no whole number
// of them does, the same for each rank.
void with_step_of(RunConfig& run, int64_t tokens, int ranks);

}  // namespace tandem::app
