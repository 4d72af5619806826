#include "arch/decoder.h"

#include <algorithm>

#include "arch/plans.h"
#include "arch/shared.h"
#include "arch/sides.h"
#include "arch/state_archive.h"
#include "ops/embedding.h"

namespace tandem {
namespace {

class DecoderCaches final : public Caches {
 public:
  DecoderCaches(const CacheOptions& options, std::vector<PagePool::Column> columns)
      : Caches(options), layers(budget_, std::move(columns), options.tokens) {}
  PagePool layers;
};

class DecoderState final : public State {
 public:
  explicit DecoderState(DecoderCaches& caches) : layers(caches.layers) {}
  PagedRows layers;
  int64_t block = 0;  // tokens written since the last reading

  int64_t length() const override { return layers.length(); }
  int64_t written() const override { return block; }
  StateBytes token_bytes() const override { return StateBytes::of_one_form(layers.bytes()); }
  StateBytes page_bytes() const override { return StateBytes::of_one_form(layers.page_bytes()); }
  std::unique_ptr<State> fork() const override { return std::make_unique<DecoderState>(*this); }
  bool unshare() override { return layers.unshare(); }
  void unwrite(int64_t count) override {
    if (count == 0) return;
    layers.trim(layers.length() - std::min(count, block));
    block -= std::min(count, block);
  }
  // What was written is kept in the same place as what was read.
  bool keep_read(int64_t length) override {
    layers.trim(length);
    return true;
  }
  std::vector<int32_t> unread_block() const override { return {}; }
  void close_block() override { block = 0; }
  int64_t end_of_read(int64_t count) const override { return length() + count; }
  int64_t end_of_write(int64_t count) const override { return length() + count; }
  bool reserve_read(int64_t count) override { return layers.reserve(count); }
  bool reserve_write(int64_t count) override { return layers.reserve(count); }
  void transfer(StateArchive& archive) override {
    archive.rows(layers);
    archive.number(block, 0, layers.length());
  }
  bool reserve(int64_t read, int64_t write) override { return layers.reserve(read + write); }
};

DecoderState& state_of(const Piece& piece) { return static_cast<DecoderState&>(*piece.state); }

}  // namespace

Decoder::Decoder(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients)
    : Model(config),
      embedding_(parameters().add("embedding.weight", {config.vocab_size, config.dim}, MupGroup::embedding,
                                  Initial::xavier_uniform)),
      output_norm_(parameters(), "output_norm", config.dim, config.output_norm, config.output_norm_eps) {
  for (int64_t i = 0; i < config.layers(); ++i) {
    layers_.emplace_back(parameters(), fmt::format("layers.{}", i), layer_shape(config));
  }
  if (!config.tied_output) {
    output_ = &parameters().add("output.weight", {config.vocab_size, config.dim}, MupGroup::embedding,
                                Initial::xavier_uniform);
  }
  parameters().allocate(precision, gradients);
  rotary_.build(config.max_seq_len, config.head_size(), config.rope_base, config.rope_pairs, precision.residual,
                kernels::RopeFrequencies::half_open, config.rope_scaling);
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
  x = output_norm_.forward(tape, x);
  seen("hidden.out_norm", x);
  return x;
}

std::unique_ptr<Caches> Decoder::new_caches(const CacheOptions& options) const {
  DType type = parameters().precision().activation;
  return std::make_unique<DecoderCaches>(
      options, key_value_columns(type, config().layers(), config().kv_heads(), config().head_size()));
}

std::unique_ptr<State> Decoder::new_state(Caches& caches) const {
  return std::make_unique<DecoderState>(static_cast<DecoderCaches&>(caches));
}

Var Decoder::extend(Tape& tape, const PagePool& pool) {
  nn::Pass pass{pass_.positions, &rotary_.table(), &plan_};
  Var x = ops::embedding(tape, embedding_.table(), pass_.ids);
  for (size_t i = 0; i < layers_.size(); ++i) {
    nn::CacheColumns cache = pass_.layer(pool, i);
    x = layers_[i].forward(tape, x, pass, &cache);
  }
  return x;
}

void Decoder::read_pieces(Tape& tape, std::span<const Piece> pieces) {
  pass_.clear();
  plan_.clear(1);
  for (const Piece& piece : pieces) {
    DecoderState& state = state_of(piece);
    pass_.add(piece.ids, state.length());
    if (!piece.ids.empty()) pass_.read_causal(plan_, state.layers, static_cast<int64_t>(piece.ids.size()));
  }
  if (pass_.size() > 0) extend(tape, state_of(pieces.front()).layers.pool());
}

void Decoder::write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) {
  pass_.clear();
  plan_.clear(1);
  for (const Piece& piece : pieces) {
    DecoderState& state = state_of(piece);
    auto count = static_cast<int64_t>(piece.ids.size());
    pass_.add(piece.ids, state.length());
    pass_.write_causal(plan_, 0, state.layers, count);
    state.block += count;
  }
  Var x = extend(tape, state_of(pieces.front()).layers.pool());
  x = output_norm_.forward(tape, x);
  logits_of(tape, x, logits);
}

double Decoder::pass_share(PassKind kind, const Parameter& parameter) const {
  if (output_ && &parameter == &embedding_) {  // of which a token needs one row
    return kind == PassKind::read ? 0 : 1 / static_cast<double>(config().vocab_size);
  }
  bool output = parameter.group() == MupGroup::embedding || parameter.name().starts_with("output_norm");
  return kind == PassKind::read && output ? 0 : 1;
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
  costs.flops_per_prompt_token = layers * (layer.matrices + layer.attention_per_key * context / 2);
  costs.cache_bytes_per_token = layers * layer.cache_bytes(parameters().precision());
  costs.cache_bytes_with_encoder = costs.cache_bytes_per_token;
  costs.cache_bytes_at_rest = costs.cache_bytes_per_token;
  return costs;
}

}  // namespace tandem
