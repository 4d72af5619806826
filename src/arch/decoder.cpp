#include "arch/decoder.h"

#include "arch/plans.h"
#include "arch/shared.h"
#include "arch/sides.h"
#include "ops/embedding.h"
#include "ops/layernorm.h"

namespace tandem {
namespace {

class DecoderState final : public State {
 public:
  std::deque<KeyValueCache> layers;
  std::vector<int32_t> ids;        // of the call in progress
  std::vector<int32_t> positions;  // of the call in progress

  int64_t length() const override { return layers.front().length(); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const KeyValueCache& cache : layers) total += cache.bytes();
    return total;
  }
};

}  // namespace

Decoder::Decoder(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients)
    : Model(config),
      embedding_(parameters().add("embedding.weight", {config.vocab_size, config.dim}, MupGroup::embedding,
                                  Initial::xavier_uniform)),
      output_norm_weight_(parameters().add("output_norm.weight", {config.dim}, MupGroup::vector, Initial::ones)),
      output_norm_bias_(parameters().add("output_norm.bias", {config.dim}, MupGroup::vector, Initial::zeros)) {
  for (int64_t i = 0; i < config.layers(); ++i) {
    layers_.emplace_back(parameters(), fmt::format("layers.{}", i), layer_shape(config));
  }
  parameters().allocate(precision, gradients);
  rotary_.build(config.max_seq_len, config.head_size(), config.rope_base, config.rope_pairs, precision.residual);
}

void Decoder::prepare(Batch& batch, Rng& rng) const {
  check_objective(config(), batch);
  if (batch.objective == Objective::prefix_lm) {
    draw_prefixes(batch, rng);
    label_suffixes(batch, config());
  }
  if (batch.objective == Objective::conversation) lay_out_conversations(batch);
}

Var Decoder::hidden(Tape& tape, const Batch& batch) {
  const bool rows = !batch.two_sided;
  if (rows) {
    plan_causal(plan_, batch.texts());
  } else {
    plan_own_blocks(plan_, batch.writer.blocks);
  }
  nn::Pass pass{rows ? batch.positions : batch.writer.positions, &rotary_.table(), &plan_};
  Var x = ops::embedding(tape, embedding_.table(), rows ? batch.ids : batch.writer.ids);
  seen("hidden.embed", x);
  for (size_t i = 0; i < layers_.size(); ++i) {
    x = layers_[i].forward(tape, x, pass, nullptr);
    seen(fmt::format("hidden.dec.{}", i), x);
  }
  x = ops::layernorm(tape, x, output_norm_weight_.weight(), output_norm_bias_.weight(), config().output_norm_eps);
  seen("hidden.out_norm", x);
  return x;
}

std::unique_ptr<State> Decoder::new_state(int64_t capacity) const {
  auto state = std::make_unique<DecoderState>();
  for (size_t i = 0; i < layers_.size(); ++i) {
    state->layers.emplace_back(parameters().precision().activation, capacity, config().kv_heads(),
                               config().head_size());
  }
  return state;
}

Var Decoder::extend(Tape& tape, State& state_base, std::span<const int32_t> ids) {
  auto& state = static_cast<DecoderState&>(state_base);
  state.ids.assign(ids.begin(), ids.end());
  consecutive_positions(state.positions, state.length(), ids.size());
  nn::plan_cached(plan_, static_cast<int64_t>(ids.size()), state.length() + static_cast<int64_t>(ids.size()));
  nn::Pass pass{state.positions, &rotary_.table(), &plan_};
  Var x = ops::embedding(tape, embedding_.table(), state.ids);
  for (size_t i = 0; i < layers_.size(); ++i) x = layers_[i].forward(tape, x, pass, &state.layers[i]);
  return x;
}

void Decoder::prefill(Tape& tape, State& state, std::span<const int32_t> ids) {
  if (!ids.empty()) extend(tape, state, ids);
}

void Decoder::decode(Tape& tape, State& state, int32_t id, std::span<float> logits) {
  Var x = extend(tape, state, {&id, 1});
  x = ops::layernorm(tape, x, output_norm_weight_.weight(), output_norm_bias_.weight(), config().output_norm_eps);
  logits_of(tape, x, logits);
}

Costs Decoder::costs() const {
  const ModelConfig& c = config();
  auto layers = static_cast<double>(c.layers());
  LayerCosts layer = layer_costs(c);
  double head = 2.0 * static_cast<double>(c.vocab_size * c.dim);
  auto context = static_cast<double>(c.max_seq_len);
  Costs costs;
  costs.flops_per_training_token = 3 * (layers * (layer.matrices + layer.attention_per_key * context / 2) + head);
  costs.flops_per_generated_token = layers * (layer.matrices + layer.attention_per_key * context) + head;
  costs.cache_bytes_per_token = layers * layer.cache_bytes(parameters().precision());
  costs.cache_bytes_with_encoder = costs.cache_bytes_per_token;
  costs.cache_bytes_at_rest = costs.cache_bytes_per_token;
  return costs;
}

}  // namespace tandem
