// The block-based double decoder: a causal encoder over the whole row and a causal decoder whose every layer has one
// softmax over its own block and the encoder's output in all earlier blocks. docs/architectures/double_decoder.md
#pragma once

#include <deque>

#include "arch/boundaries.h"
#include "arch/model.h"
#include "arch/paged_pass.h"
#include "arch/waking_rows.h"
#include "nn/layers.h"
#include "nn/norm.h"
#include "ops/lse_gate.h"

namespace tandem {

// One decoder layer: joint attention over own states and memory (the encoder's output), then the MLP.
class JointAttentionLayer {
 public:
  JointAttentionLayer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape, MemoryKv memory_kv,
                      bool logit_biases);

  // What the decoder's layers share in one pass. Sources of `joint`: 0 = own states, 1 = memory; `own_only` and
  // `memory_only` are its two halves, for the gated variant.
  struct Plans {
    SpanPlan joint;
    SpanPlan own_only;
    SpanPlan memory_only;
  };
  struct Pass {
    std::span<const int32_t> positions;
    const ops::RopeTable* rope = nullptr;
    const Plans* plans = nullptr;
  };

  // Keys and values of the encoder's output [Tm, dim] at `positions`: [Tm, 2 * kv_dim], keys turned. Not with
  // MemoryKv::one_for_all, where the model projects for all layers.
  Var project_memory(Tape& tape, Var memory, std::span<const int32_t> positions, const ops::RopeTable& rope) const;
  ops::KeyValueHeads memory_heads(Var projected) const;

  // Sees what is computed on the way; not where it is recomputed.
  using Observer = std::function<void(const char*, Var)>;

  // x [T, dim]; memory: keys and values from project_memory(), perhaps from a cache. With a cache of own states source
  // 0 is what nn::extend_cache() returns.
  Var forward(Tape& tape, Var x, const ops::KeyValueHeads& memory, const Pass& pass, const nn::CacheColumns* own,
              const Observer* seen) const;

 private:
  // x + attention(norm(x))
  Var attend(Tape& tape, Var x, const ops::KeyValueHeads& memory, const Pass& pass, const nn::CacheColumns* own,
             const Observer* seen) const;
  Var attend(Tape& tape, const ops::Heads& q, const ops::KeyValueHeads& own, const ops::KeyValueHeads& memory,
             const Plans& plans, const Observer* seen) const;

  nn::LayerShape shape_;
  Parameter& norm_;                        // [dim]
  Parameter& q_;                           // [q_dim, dim]
  Parameter& own_kv_;                      // [2 * kv_dim, dim]: rows of keys, then values
  Parameter* memory_kv_ = nullptr;         // the same for memory; null: own_kv_ serves both
  Parameter& out_;                         // [dim, q_dim]
  Parameter* gate_bias_ = nullptr;         // [H, 2] own and memory; null: one softmax
  Parameter* gate_temperature_ = nullptr;  // [H]
  nn::Mlp mlp_;
};

class DoubleDecoder final : public Model {
 public:
  DoubleDecoder(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients);

  void prepare(Batch& batch, Rng& rng) const override;
  std::unique_ptr<Caches> new_caches(const CacheOptions& options) const override;
  std::unique_ptr<State> new_state(Caches& caches) const override;
  using Model::new_state;
  double pass_share(PassKind kind, const Parameter& parameter) const override;
  Costs costs() const override;

 protected:
  Var hidden(Tape& tape, const Batch& batch) override;
  const Parameter& output_table() const override { return embedding_; }
  void read_pieces(Tape& tape, std::span<const Piece> pieces) override;
  void write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) override;
  void wake_states(Tape& tape, std::span<State* const> states) override;

 private:
  // Keys and values of the encoder's output for each decoder layer. With one projection for all layers there is one
  // element, and a training pass gives every layer a handle of its own on it (see memory_of).
  std::vector<Var> project(Tape& tape, Var memory, std::span<const int32_t> positions) const;
  // Number of different projections: of caches of memory.
  size_t memory_count() const { return memory_kv_ ? 1 : decoder_.size(); }
  // The encoder's output after its norm, [T, dim]; encoder_plan_ says what a token sees. With `cache` pass_ says where
  // its keys and values go.
  Var encode(Tape& tape, std::span<const int32_t> ids, std::span<const int32_t> positions, const PagePool* cache);
  // Projects the encoder's output into the rows `slots` of the pool of memory.
  void keep_memory(Tape& tape, Var memory, std::span<const int32_t> positions, const PagePool& pool,
                   std::span<const int32_t> slots) const;
  // The encoder over the tokens that sequences read, its output projected and kept.
  void encode_pieces(Tape& tape, std::span<const Piece> pieces);
  // Keys and values of sequences whose encoder state was dropped, anew.
  void restore_encoder(Tape& tape, std::span<const Piece> pieces);

  BoundaryRule boundary_rule_;
  Parameter& embedding_;  // [V, dim]: both inputs and the output projection
  std::deque<nn::SelfAttentionLayer> encoder_;
  nn::Norm encoder_norm_;
  Parameter* memory_kv_ = nullptr;  // [2 * kv_dim, dim] for all layers; null: every layer projects memory itself
  std::deque<JointAttentionLayer> decoder_;
  nn::Norm output_norm_;
  nn::Rotary rotary_;
  SpanPlan encoder_plan_;              // of the pass in progress
  JointAttentionLayer::Plans plans_;   // of the pass in progress
  PagedPass pass_;                     // the same, of sequences
  std::vector<int32_t> memory_slots_;  // where what it reads is kept
  WakingRows waking_;
};

// What the tokens of blocks see: in source 0 their block up to themselves, in source 1 what the block reads. The halves
// only when `separate`.
void plan_blocks(JointAttentionLayer::Plans& plans, std::span<const WriterBlock> blocks, bool separate);

}  // namespace tandem
