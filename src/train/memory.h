// How much memory a run takes, found without computing: passes of the run's own shape that skip every loop over
// elements (base/dry_run.h) take the memory that real ones take, in milliseconds.
#pragma once

#include <cstdint>
#include <functional>

#include "arch/model.h"
#include "base/json_fwd.h"
#include "base/rng.h"
#include "train/run_config.h"

namespace tandem {

// Bytes that are resident at most.
struct MemoryEstimate {
  int64_t parameters = 0;   // master weights and the copies that products read
  int64_t gradients = 0;    // of parameters, and what arrives from other ranks
  int64_t moments = 0;      // of the optimizer
  int64_t activations = 0;  // of a training pass and its backward pass, or of a validation pass
  int64_t program = 0;      // program and libraries, tokenizer, held-out rows, prepared products
  int64_t mapped = 0;       // files: token shards, a checkpoint being checked. The system may drop these pages

  int64_t total() const { return parameters + gradients + moments + activations + program; }
};

OrderedJson to_json(const MemoryEstimate& memory);

// What a tape holds and kernels take for one call.
struct PassMemory {
  int64_t arena = 0;  // of the tape: activations
  int64_t pool = 0;   // of the tape: gradients of activations
  int64_t scratch = 0;
  int64_t total() const { return arena + pool + scratch; }
};

// Bytes of a pass over these packed rows, which the model prepares: forward and backward, or with `no_grad` forward.
// Parameters stay as they are; gradients hold anything.
PassMemory pass_memory(Context& ctx, Model& model, Recompute recompute, const Batch& packed, Tape::Mode mode);

// Rows of random tokens; a model that would learn from conversations learns from them as from text. With
// `document_tokens` a row is made of documents of that length, which cannot see each other.
Batch random_rows(const ModelConfig& model, Objective objective, int64_t rows, Rng& rng, int64_t document_tokens = 0);

struct MemoryInput {
  Context& ctx;
  const RunConfig& config;  // of one rank's share of a step
  Model& model;             // with gradients, which need not have been touched yet
  // Packed rows of a micro-batch, or as many as are asked for.
  std::function<Batch(int64_t rows)> rows;
  int64_t validation_rows = 0;   // in one pass; 0: no validation
  int64_t moment_elements = -1;  // whose moments this rank keeps; -1: all
  int64_t exchange_bytes = 0;    // memory for what other ranks send
};

// All but `program` and `mapped`, which depend on what else the process does. Passes of more than kDryTokens tokens are
// not made but follow from smaller ones, since all that grows, grows with the rows.
MemoryEstimate model_memory(const MemoryInput& input);

inline constexpr int64_t kDryTokens = 65536;

// What this process holds now besides what it has touched of a model and its passes.
int64_t program_bytes(int64_t touched);

}  // namespace tandem
