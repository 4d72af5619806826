// Decoder-only transformer: the field's default, and the baseline of every comparison.
#pragma once

#include <deque>

#include "arch/model.h"
#include "arch/paged_pass.h"
#include "nn/layers.h"
#include "nn/norm.h"

namespace tandem {

class Decoder final : public Model {
 public:
  explicit Decoder(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients);

  void prepare(Batch& batch, Rng& rng) const override;
  std::unique_ptr<Caches> new_caches(const CacheOptions& options) const override;
  std::unique_ptr<State> new_state(Caches& caches) const override;
  using Model::new_state;
  double pass_share(PassKind kind, const Parameter& parameter) const override;
  Costs costs() const override;

 protected:
  Var hidden(Tape& tape, const Batch& batch) override;
  const Parameter& output_table() const override { return output_ ? *output_ : embedding_; }
  void read_pieces(Tape& tape, std::span<const Piece> pieces) override;
  void write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) override;

 private:
  // Runs all layers over the tokens of pass_; returns the residual stream.
  Var extend(Tape& tape, const PagePool& pool);

  Parameter& embedding_;         // [V, dim]; where the output is tied to it also the output projection
  Parameter* output_ = nullptr;  // [V, dim] where it is not
  std::deque<nn::SelfAttentionLayer> layers_;
  nn::Norm output_norm_;
  nn::Rotary rotary_;
  SpanPlan plan_;   // of the pass in progress
  PagedPass pass_;  // the same, of sequences
};

}  // namespace tandem
