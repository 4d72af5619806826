// The encoder-decoder baseline, T5-style (Vaswani et al. 2017, Raffel et al. 2020; StandardEncDec of github
// ashlab11/block-based-double-decoder): a bidirectional encoder, and decoder layers of causal self-attention,
// cross-attention and MLP. docs/architectures/encoder_decoder.md
#pragma once

#include <deque>

#include "arch/length_rotary.h"
#include "arch/model.h"
#include "arch/paged_pass.h"
#include "arch/waking_rows.h"
#include "nn/layers.h"
#include "nn/norm.h"

namespace tandem {

// x + attention(norm(x)) to the encoder's output.
class CrossAttention {
 public:
  CrossAttention(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape);

  // Keys and values of the encoder's output [Tm, dim], in one activation; with a table keys turned by `positions`.
  ops::KeyValueHeads project(Tape& tape, Var memory, std::span<const int32_t> positions,
                             const ops::RopeTable* rope) const;
  // x [T, dim]; the plan's source 0 is the memory. Without a table in the pass queries don't turn.
  Var forward(Tape& tape, Var x, const ops::KeyValueHeads& memory, const nn::Pass& pass) const {
    return tape.section(Recompute::attention, [=, this](Tape& t) { return attend(t, x, memory, pass); });
  }

 private:
  Var attend(Tape& tape, Var x, const ops::KeyValueHeads& memory, const nn::Pass& pass) const;

  nn::LayerShape shape_;
  Parameter& norm_;  // [dim]
  nn::Linear q_;     // [q_dim, dim]
  nn::Linear kv_;    // [2 * kv_dim, dim]: rows of keys, then values
  nn::Linear out_;   // [dim, q_dim]
};

struct CrossDecoderLayer {
  CrossDecoderLayer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape)
      : self(store, prefix, shape), cross(store, prefix, shape), mlp(store, prefix, shape, "norm3") {}

  // `own`: what the token sees of its own block, `memory_pass` of the encoder's output.
  Var forward(Tape& tape, Var x, const ops::KeyValueHeads& memory, const nn::Pass& own, const nn::Pass& memory_pass,
              const nn::CacheColumns* cache) const {
    return tape.section(Recompute::layers, [=, this](Tape& t) {
      return mlp.forward(t, cross.forward(t, self.forward(t, x, own, cache), memory, memory_pass));
    });
  }

  nn::SelfAttention self;
  CrossAttention cross;
  nn::Mlp mlp;
};

class EncoderDecoder final : public Model {
 public:
  EncoderDecoder(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients);

  void prepare(Batch& batch, Rng& rng) const override;
  std::unique_ptr<Caches> new_caches(const CacheOptions& options) const override;
  std::unique_ptr<State> new_state(Caches& caches) const override;
  using Model::new_state;
  bool reads_in_pieces() const override { return false; }
  double pass_share(PassKind kind, const Parameter& parameter) const override;
  Costs costs() const override;

 protected:
  Var hidden(Tape& tape, const Batch& batch) override;
  const Parameter& output_table() const override { return embedding_; }
  // Both directions: a sequence that is read on is read again from its start.
  void read_pieces(Tape& tape, std::span<const Piece> pieces) override;
  // The first token that is written comes behind BOS, as prefix-LM and conversations have it: of a text that goes on it
  // is the last known token, of a conversation the role token, of a text with sentinels the first sentinel. If it is
  // BOS itself, as where an answer is written to a text that was read, that is the BOS. With nothing read before, the
  // encoder reads the token and BOS stands alone.
  // Where the rotary base follows the length, each token that makes a block longer than the NTK length changes what all
  // before it were: the whole block passes through the decoder once more, and each token of a piece for itself.
  void write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) override;
  void wake_states(Tape& tape, std::span<State* const> states) override;

 private:
  // Projects the encoder's output into the rows `slots` of the pool of memory.
  void keep_memory(Tape& tape, Var memory, std::span<const int32_t> positions, const PagePool& pool,
                   std::span<const int32_t> slots) const;
  // Tokens of which none makes another one of its piece different.
  void write_round(Tape& tape, std::span<const Piece> pieces, const Tensor& logits);
  // encoder_turns_ and own_turns_ hold the tokens. With `gathered` pass_ says in which order attention finds their
  // keys.
  Var encode(Tape& tape, std::span<const int32_t> ids, bool gathered);
  // The plans' queries are the tokens of `ids`.
  Var decode_layers(Tape& tape, std::span<const int32_t> ids, std::span<const int32_t> positions,
                    std::span<const ops::KeyValueHeads> memory, const PagePool* cache);

  // Of cross-attention; null where positions don't matter to it.
  const ops::RopeTable* cross_rope() const { return config().cross_rope ? &rotary_.table() : nullptr; }

  Parameter& embedding_;  // [V, dim]: both inputs and the output projection
  nn::Norm encoder_norm_;
  nn::Norm output_norm_;
  std::deque<nn::SelfAttentionLayer> encoder_;
  std::deque<CrossDecoderLayer> decoder_;
  nn::Rotary rotary_;
  // Of the pass in progress.
  LengthRotary encoder_turns_;
  LengthRotary own_turns_;
  SpanPlan encoder_plan_;
  SpanPlan own_plan_;
  SpanPlan memory_plan_;
  PagedPass pass_;
  std::vector<int32_t> memory_slots_;
  WakingRows waking_;
  std::vector<int32_t> row_ids_;  // of one piece, with BOS
  std::vector<Piece> round_;
  std::vector<size_t> written_;      // of each piece, in the rounds before
  std::vector<int64_t> round_rows_;  // of the logits
  std::vector<int32_t> wanted_;      // rows whose logits are asked for
  std::vector<ops::KeyValueHeads> memory_heads_;
};

}  // namespace tandem
