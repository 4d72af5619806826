// YOCO (Sun et al. 2024, "You Only Cache Once"; github microsoft/unilm, folder YOCO): the lower half of the layers, the
// self-decoder, mixes tokens by sliding windows or gated retention; its output gives one set of keys and values, which
// all layers of the upper half, the cross-decoder, attend to. docs/architectures/yoco.md
#pragma once

#include <deque>
#include <optional>

#include "arch/model.h"
#include "arch/paged_pass.h"
#include "arch/recent_pass.h"
#include "nn/layers.h"

namespace tandem {

// x + out(silu(g) * norm(retention(q, k, v))) of the normed x, for layers whose heads keep a decaying state.
class RetentionMixer {
 public:
  RetentionMixer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape, double decay_divisor);

  struct Pass {
    std::span<const int32_t> positions;
    const ops::RopeTable* rope = nullptr;
    const RetentionPlan* plan = nullptr;
  };
  // Columns of a layer in a pool of recent_columns(), and the pass that goes on with its sequences.
  struct Cache {
    Tensor k, v, log_decay, states;
    RecentPass* pass = nullptr;
  };
  // x [T, dim]. Without a cache the plan is of whole sequences.
  Var forward(Tape& tape, Var x, const Pass& pass, const Cache* cache) const {
    return tape.section(Recompute::attention, [=, this](Tape& t) { return mix(t, x, pass, cache); });
  }

 private:
  Var mix(Tape& tape, Var x, const Pass& pass, const Cache* cache) const;

  nn::LayerShape shape_;
  double decay_divisor_;
  Parameter& norm_;   // [dim]
  Parameter& qkvg_;   // [4 * q_dim, dim]: rows of queries, keys, values, gates
  Parameter& decay_;  // [heads, dim]
  Parameter& out_;    // [dim, q_dim]
};

// A layer of the lower half.
class YocoSelfLayer {
 public:
  YocoSelfLayer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape,
                const ModelConfig& config);

  struct Plans {
    SpanPlan window;
    RetentionPlan retention;
  };
  Var forward(Tape& tape, Var x, std::span<const int32_t> positions, const ops::RopeTable& rope,
              const Plans& plans) const;
  // Goes on with sequences whose recent state layer `index` of the pool keeps.
  Var advance(Tape& tape, Var x, const ops::RopeTable& rope, RecentPass& pass, const PagePool& pool,
              size_t index) const;

 private:
  std::optional<nn::SelfAttention> attention_;  // one of the two
  std::optional<RetentionMixer> retention_;
  nn::Mlp mlp_;
};

// A layer of the upper half: attention to the shared keys and values, and the MLP.
class YocoCrossLayer {
 public:
  YocoCrossLayer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape);
  Var forward(Tape& tape, Var x, const ops::KeyValueHeads& shared, const nn::Pass& pass) const;

 private:
  Var attend(Tape& tape, Var x, const ops::KeyValueHeads& shared, const nn::Pass& pass) const;

  nn::LayerShape shape_;
  Parameter& norm_;  // [dim]
  Parameter& q_;     // [q_dim, dim]
  Parameter& out_;   // [dim, q_dim]
  nn::Mlp mlp_;
};

class Yoco final : public Model {
 public:
  Yoco(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients);

  void prepare(Batch& batch, Rng& rng) const override;
  std::unique_ptr<Caches> new_caches(const CacheOptions& options) const override;
  std::unique_ptr<State> new_state(Caches& caches) const override;
  using Model::new_state;
  double pass_share(PassKind kind, const Parameter& parameter) const override;
  Costs costs() const override;

 protected:
  Var hidden(Tape& tape, const Batch& batch) override;
  const Parameter& output_table() const override { return output_; }
  // Only the lower half: what a prompt leaves behind is its recent state and the shared keys and values.
  void read_pieces(Tape& tape, std::span<const Piece> pieces) override;
  void write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) override;

 private:
  Var embed(Tape& tape, std::span<const int32_t> ids) const;
  // The shared keys and values of the lower half's output, keys turned: [T, 2 * kv_dim].
  Var project(Tape& tape, Var x, std::span<const int32_t> positions) const;
  ops::KeyValueHeads shared_heads(Var projected) const;
  // The tokens of recent_ through the lower half.
  Var advance(Tape& tape, const PagePool& pool);
  // The lower half over tokens that were taken back further than its state went.
  void restore(Tape& tape, std::span<const Piece> pieces);
  void write_round(Tape& tape, std::span<const Piece> pieces, const Tensor& logits);

  nn::LayerShape cross_shape_;
  Parameter& embedding_;    // [V, dim]
  Parameter& kv_norm_;      // [dim]
  Parameter& kv_;           // [2 * kv_dim, dim]: rows of keys, then values
  Parameter& output_norm_;  // [dim]
  Parameter& output_;       // [V, dim]
  std::deque<YocoSelfLayer> self_;
  std::deque<YocoCrossLayer> cross_;
  nn::Rotary self_rotary_;
  nn::Rotary cross_rotary_;
  // Of the pass in progress.
  YocoSelfLayer::Plans plans_;
  SpanPlan cross_plan_;
  RecentPass recent_;
  std::vector<int32_t> shared_slots_;
};

}  // namespace tandem
