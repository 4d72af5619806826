// What a run knows besides tensors: state.json of a checkpoint.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "train/guard.h"

namespace tandem {

// A validation whose loss no other one has beaten.
struct BestValidation {
  int64_t step = -1;  // -1: none yet
  double loss = 0;    // nats per labelled token
};

// What rounding depends on. Anything else, the number of threads included, leaves a run's bits alone.
struct Surroundings {
  std::string isa;
  std::string precision;
  std::string processor;       // matrix products are cut by the sizes of its caches
  std::string matrix_library;  // name and version
  bool operator==(const Surroundings&) const = default;
};

OrderedJson to_json(const Surroundings& surroundings);
Surroundings surroundings_from_json(const Json& json, const std::string& where);

// In words, what is not the same: "instruction set avx2 instead of avx512, ..."; empty where all is.
std::string differences(const Surroundings& before, const Surroundings& now);

struct RunState {
  int64_t step = 0;               // optimizer steps done, skipped ones included
  int64_t updates = 0;            // of them, those that changed the parameters
  int64_t tokens = 0;             // read so far
  int64_t skipped = 0;            // steps without update in all, those before a rollback included
  int64_t unlabelled_in_row = 0;  // skipped for want of a label
  double loss = 0;                // of the last step with an update
  double seconds = 0;             // spent training so far; never enters a number of the model
  // Since the last line of the log.
  double window_loss = 0;  // sum over labelled tokens
  int64_t window_labelled = 0;
  int64_t log_bytes = 0;  // length of log.jsonl
  // Step of the last regular checkpoint, this one perhaps. Only regular ones are places to go back to: those of a
  // Ctrl-C come at any time, and a run that was stopped must not end otherwise than one that was not.
  int64_t anchor = 0;
  GuardState guard;
  BestValidation best;
  Json cursor;            // RowStream::state()
  Json heldout;           // the last validation and its step; null: none yet
  std::string tokenizer;  // hash
  Surroundings surroundings;
};

OrderedJson to_json(const RunState& state);
// InputError naming `where` and the key that is missing or of a wrong type.
RunState run_state_from_json(const Json& json, const std::string& where);

}  // namespace tandem
