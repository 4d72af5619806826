// One interface for all architectures. Above this folder nobody asks which architecture it holds.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "arch/config.h"
#include "arch/state.h"
#include "base/rng.h"
#include "nn/parameters.h"
#include "ops/head.h"
#include "text/batch.h"

namespace tandem {

// What a token costs. FLOPs count multiplications and additions of matrix products and attention.
struct Costs {
  double flops_per_training_token = 0;   // forward and backward, rows of max_seq_len
  double flops_per_generated_token = 0;  // one decode step at a context of max_seq_len tokens
  double flops_per_prompt_token = 0;     // reading a prompt of max_seq_len tokens
  // Bytes of cache per prompt token at decode, for caches of the model's compute type: live as decoding needs it; with
  // the state that is needed only to extend the prompt; at rest, the least from which the live state can be rebuilt
  // without reading the prompt again.
  double cache_bytes_per_token = 0;
  double cache_bytes_with_encoder = 0;
  double cache_bytes_at_rest = 0;
  double cache_bytes_constant = 0;  // and per sequence, however long its prompt is
};

enum class PassKind { read, write };

class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelConfig& config() const { return config_; }
  ParameterStore& parameters() { return parameters_; }
  const ParameterStore& parameters() const { return parameters_; }
  int64_t non_embedding_parameters() const;

  // Draws what this architecture adds to packed rows for the batch's objective (block boundaries, where prefixes end,
  // spans) and lays out what it reads and writes. Called once per micro-batch, on a batch that was not prepared before;
  // choices that a batch brings along are kept where text/batch.h says so. InputError for an objective that the
  // architecture does not learn, and for rows that do not fit it.
  virtual void prepare(Batch& batch, Rng& rng) const = 0;

  // Sum of the losses over batch.loss_labels(). On a recording tape the gradient of the sum is on its way afterwards:
  // tape.backward() adds it to the parameters' gradients. `batch` must outlive that.
  // `token_loss`, `token_correct`: see ops/head.h.
  ops::LossSum loss(Tape& tape, const Batch& batch, bool count_correct = false, const Tensor& token_loss = {},
                    std::span<uint8_t> token_correct = {});

  // Multiplied logits [loss_labels().size(), V] of a whole batch, in the tape's arena: for checks on small models.
  Tensor all_logits(Tape& tape, const Batch& batch);

  // Generation: passes over pieces of several sequences, each state at most once in a pass. What is read is the prompt;
  // what is written follows it, and write() gives the logits [tokens of all pieces, V] of what comes behind each token.
  // To continue a text of n tokens: read the first n-1, write the last one. To answer a chat prompt: read all of it,
  // write the token that opens the answer. A prompt may be read piece by piece. Once something was written, fold()
  // makes it part of what was read: then more can be read, and a new block begins.
  //
  // A token's result does not depend on what else is in the pass, nor on how the prompt was cut.
  // InputError for ids outside the vocabulary, positions beyond max_seq_len, and more tokens than a state or its caches
  // have room for; the states are then as they were before.
  virtual std::unique_ptr<Caches> new_caches(const CacheOptions& options) const = 0;
  virtual std::unique_ptr<State> new_state(Caches& caches) const = 0;
  void read(Tape& tape, std::span<const Piece> pieces);
  void write(Tape& tape, std::span<const Piece> pieces, const Tensor& logits);
  void fold(Tape& tape, State& state);
  // Makes a state that rests live again, the same bits as before (with packed weights); read() and write() do it by
  // themselves. Copies that are to share pages are forked from the state that is awake. InputError without free pages.
  void wake(Tape& tape, State& state);
  // Whether reading a prompt in pieces costs no more than reading it at once.
  virtual bool reads_in_pieces() const { return true; }

  // The same for one sequence in caches of its own.
  std::unique_ptr<State> new_state(int64_t capacity) const;
  void prefill(Tape& tape, State& state, std::span<const int32_t> ids) {
    Piece piece{&state, ids};
    read(tape, {&piece, 1});
  }
  void decode(Tape& tape, State& state, int32_t id, std::span<float> logits);

  // Of the passes that read a prompt or write a token, the share that runs all of the parameter. Rows of the embedding
  // that are looked up come on top.
  virtual double pass_share(PassKind kind, const Parameter& parameter) const {
    return kind == PassKind::read && parameter.group() == MupGroup::embedding ? 0 : 1;
  }

  virtual Costs costs() const = 0;

  // Called with the value of every named activation of a training pass ("hidden.enc.0", ...), for parity checks.
  using Observer = std::function<void(const std::string& name, const Tensor& value)>;
  void observe(Observer observer) { observer_ = std::move(observer); }

 protected:
  explicit Model(const ModelConfig& config) : config_(config) {}

  // The last hidden state after the output norm, [loss_labels().size(), dim].
  virtual Var hidden(Tape& tape, const Batch& batch) = 0;
  virtual const Parameter& output_table() const = 0;  // [V, dim]

  void seen(const std::string& name, Var v) const {
    if (observer_) observer_(name, v->value);
  }
  // read() and write() after all checks, with room for every token.
  virtual void read_pieces(Tape& tape, std::span<const Piece> pieces) = 0;
  virtual void write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) = 0;
  // wake() for states that all rest, with room for what was dropped.
  virtual void wake_states(Tape&, std::span<State* const>) {}
  // The same for those of pieces that rest: before writing always, before reading where that needs states awake.
  void wake_pieces(Tape& tape, std::span<const Piece> pieces);

  // Logits of the rows of x, into [rows, V] floats.
  void logits_of(Tape& tape, Var x, const Tensor& logits) const;

 private:
  ModelConfig config_;
  ParameterStore parameters_;
  void check_piece(const Piece& piece, int64_t end) const;

  Observer observer_;
  Batch filled_;  // the sides of the pass in progress, rounded up in size
};

// Builds the model of config.arch with its parameters allocated (zero) for `precision`. InputError for sizes that do
// not fit; `where` names the config in it.
std::unique_ptr<Model> make_model(const ModelConfig& config, const Precision& precision,
                                  ParameterStore::Gradients gradients, const std::string& where);

}  // namespace tandem
