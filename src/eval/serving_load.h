// Many requests at once under a memory limit: what an engine makes of a model's cache.
#pragma once

#include <optional>
#include <string>

#include "eval/sequence_load.h"
#include "infer/engine.h"

namespace tandem {

struct ServingScenario {
  int64_t requests = 64;
  int64_t prompt = 512;     // tokens, of each
  int64_t written = 128;    // tokens that each is answered with
  int64_t cache_bytes = 0;  // limit of all caches together
};

struct ServingFigures {
  double seconds = 0;        // from the first request to the last token
  double read_seconds = 0;   // of them, in passes that read prompts
  double write_seconds = 0;  // and in those that write
  int64_t read_tokens = 0;
  int64_t written_tokens = 0;
  int64_t most_sequences = 0;  // that wrote at the same time
  double mean_sequences = 0;   // the same on average over the steps that wrote
  std::string error;           // the engine's, when a request could not be answered

  double decode_rate() const { return static_cast<double>(written_tokens) / write_seconds; }  // tokens per second
  double work_rate() const { return static_cast<double>(written_tokens) / seconds; }          // reading included
};

// Submits all requests at once and steps until they are answered. Prompts are random and share nothing; what only
// reading needs is dropped once a prompt is read. Empty: stopped.
std::optional<ServingFigures> serve(Context& ctx, Model& model, const ServingScenario& scenario, const Stop& stop = {});

// Whole pages of one sequence.
struct SequencePages {
  int64_t reading = 0;  // until the prompt has been read, with room for what is written
  int64_t writing = 0;
};
SequencePages sequence_pages(const Model& model, int64_t read, int64_t written);

}  // namespace tandem
