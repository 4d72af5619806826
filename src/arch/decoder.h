// Decoder-only transformer: the field's default, and the baseline of every comparison.
#pragma once

#include <deque>

#include "arch/model.h"
#include "nn/layers.h"

namespace tandem {

class Decoder final : public Model {
 public:
  explicit Decoder(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients);

  void prepare(Batch& batch, Rng& rng) const override;
  std::unique_ptr<State> new_state(int64_t capacity) const override;
  void prefill(Tape& tape, State& state, std::span<const int32_t> ids) override;
  void decode(Tape& tape, State& state, int32_t id, std::span<float> logits) override;
  Costs costs() const override;

 protected:
  Var hidden(Tape& tape, const Batch& batch) override;
  const Parameter& output_table() const override { return embedding_; }

 private:
  // Runs all layers over tokens at the end of the caches; returns the residual stream.
  Var extend(Tape& tape, State& state, std::span<const int32_t> ids);

  Parameter& embedding_;  // [V, dim], also the output projection
  std::deque<nn::SelfAttentionLayer> layers_;
  Parameter& output_norm_weight_;
  Parameter& output_norm_bias_;
  nn::Rotary rotary_;
  SpanPlan plan_;  // of the pass in progress
};

}  // namespace tandem
