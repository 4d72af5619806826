// Sequences of random tokens in a model's caches, for measuring what reading and writing cost.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "arch/model.h"

namespace tandem {

using Stop = std::function<bool()>;  // looked at between passes; true: stop

// What one sequence of `context` tokens holds of whole pages, looked at in a state that has read them and keeps all
// that its caches can keep: as it is, once it has let go of what only reading on needs, and at rest. Empty: stopped.
std::optional<StateBytes> measure_cache(Tape& tape, Model& model, int64_t context, int64_t chunk,
                                        const Stop& stop = {});

// What is timed holds what writing needs and nothing else.
class SequenceLoad {
 public:
  // Room for `most_sequences` of `context` tokens and one more. The tape's memory is kept for the next load.
  SequenceLoad(Tape& tape, Model& model, int64_t context, int64_t most_sequences);
  // The tape of the passes from here on: what the one that read has grown to can go.
  void use(Tape& tape) { tape_ = &tape; }

  // Replaces all sequences by `count` fresh ones that read the context, one after the other, in pieces of `chunk`
  // tokens where the architecture reads in pieces. Seconds; empty: stopped, and there are no sequences.
  std::optional<double> read(int64_t count, int64_t chunk, const Stop& stop = {});
  // As many as `count` sequences that have read the context and written a token, or as many as lead to where a cycle of
  // writing begins (arch/write_cycle.h), each in pages of its own: copies of the first, or read anew where a state
  // cannot be copied. False: stopped.
  bool resize(int64_t count, int64_t chunk, const Stop& stop = {});
  // After a resize: one token more for every sequence in each pass, a whole cycle of passes, which is taken back
  // afterwards: every call has the same context. Seconds per pass.
  double write();
  // After a read: one pass, taken back afterwards. Seconds.
  double write_first();

  // Memory that a pass which reads takes beside the caches, per token of the pass; after a read.
  double pass_bytes_per_token() const { return pass_bytes_per_token_; }
  int64_t sequences() const { return static_cast<int64_t>(states_.size()); }
  // What a pass of the last call had to read, the mean over its passes: each weight that it needs once, in its packed
  // format, a row of the embedding for every sequence, and the cache of every sequence with the token that was written.
  // A cache that several layers share counts once, and one that is read once per block in the pass that reads it.
  double bytes_read_per_step() const;

 private:
  std::unique_ptr<State> read_one(int64_t chunk, const Stop& stop);
  void write_to(std::span<const std::unique_ptr<State>> states);
  double write_and_take_back(int64_t tokens);  // seconds per pass

  Tape* tape_;
  Model& model_;
  std::unique_ptr<Caches> caches_;  // outlives the states
  std::vector<std::unique_ptr<State>> states_;
  std::vector<int32_t> ids_;
  std::vector<Piece> pieces_;
  Storage logits_;  // [most_sequences, V]
  double pass_bytes_per_token_ = 0;
  double read_bytes_ = 0;  // of one cache in a pass
};

// Positions behind the context that a model's rows must have.
int64_t positions_behind_context(const ModelConfig& config);

// Bytes of weights that one pass over `tokens` must read: see bytes_read_per_step().
double weight_bytes_per_pass(const Model& model, PassKind kind, int64_t tokens);

}  // namespace tandem
