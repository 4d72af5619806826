// Models side by side: what reading, writing and keeping a sequence costs each of them, and what they make of a memory
// limit. Shared machines change their speed within minutes, so models take turns within every cell, for several rounds,
// and medians are kept.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eval/contenders.h"
#include "eval/serving_load.h"

namespace tandem {

struct ComparisonPlan {
  std::vector<int64_t> contexts;  // ascending
  std::vector<int64_t> batches;   // ascending
  int64_t rounds = 3;
  double slice_seconds = 0.1;  // of writing, per model and round
  int64_t chunk = 512;         // prompts are read in pieces of so many tokens
  // Caches of one cell, of the models whose turn it is together. What would not fit is not begun.
  int64_t cell_bytes = 0;
  ServingScenario serving;  // cache_bytes 0: `twin_sequences` of the family's decoder-only model; requests 0: none
  int64_t twin_sequences = 4;
};

// A cell of the table: a value, or the reason why there is none. Both empty: it was not reached.
struct FirstTokenCell {
  int64_t context = 0;
  double seconds = 0;
  std::string note;
};
struct CacheCell {
  int64_t context = 0;
  StateBytes bytes;
  std::string note;
};
struct DecodeCell {
  int64_t context = 0;
  int64_t batch = 0;
  double step_seconds = 0;  // one token for every sequence
  double bytes_read = 0;    // that a step must read
  int64_t cache_bytes = 0;  // whole pages of all sequences
  std::string note;
};
struct ServingCell {
  ServingFigures figures;  // medians of the rates' times
  int64_t cache_bytes = 0;
  std::string note;
};

struct ContenderResult {
  int64_t parameters = 0;
  int64_t non_embedding_parameters = 0;
  std::vector<FirstTokenCell> first_token;
  std::vector<CacheCell> cache;
  std::vector<DecodeCell> decode;
  ServingCell serving;
};

struct ComparisonResult {
  std::vector<ContenderResult> models;    // as the contenders; empty results for those that were refused
  double peak_read_bytes_per_second = 0;  // the best of one look per context
  bool stopped = false;
};

struct ComparisonHooks {
  std::function<bool()> should_stop;
  std::function<void(double fraction, const std::string& what)> progress;
};

// A contender whose weights are in memory, in the format in which they are read.
struct LoadedContender {
  const Contender* contender = nullptr;
  std::unique_ptr<Model> model;  // null: refused
};

// The decoder-only model that a family is measured against; -1: it has none.
int64_t twin_of(const std::vector<LoadedContender>& models, int64_t family);

ComparisonResult compare(Context& ctx, const ComparisonPlan& plan, const std::vector<LoadedContender>& models,
                         const ComparisonHooks& hooks);

}  // namespace tandem
