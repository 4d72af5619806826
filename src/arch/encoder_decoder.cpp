#include "arch/encoder_decoder.h"

#include "arch/plans.h"
#include "arch/shared.h"
#include "arch/sides.h"
#include "arch/span_corruption.h"
#include "base/error.h"
#include "ops/embedding.h"
#include "ops/layernorm.h"
#include "ops/linear.h"
#include "ops/rmsnorm.h"
#include "ops/select_rows.h"

namespace tandem {

CrossAttention::CrossAttention(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape)
    : shape_(shape),
      norm_(store.add(prefix + ".norm2.weight", {shape.dim}, MupGroup::vector, Initial::ones)),
      q_(store.add(prefix + ".cross_attention.q.weight", {shape.q_dim(), shape.dim}, MupGroup::matrix,
                   Initial::xavier_uniform)),
      kv_(store.add(prefix + ".cross_attention.kv.weight", {2 * shape.kv_dim(), shape.dim}, MupGroup::matrix,
                    Initial::xavier_uniform)),
      out_(store.add(prefix + ".cross_attention.out.weight", {shape.dim, shape.q_dim()}, MupGroup::matrix,
                     Initial::xavier_uniform)) {}

ops::KeyValueHeads CrossAttention::project(Tape& tape, Var memory, std::span<const int32_t> positions,
                                           const ops::RopeTable& rope) const {
  Var kv = ops::linear(tape, memory, kv_.weight());
  ops::HeadColumns k{0, shape_.kv_heads, shape_.head_dim};
  ops::HeadColumns v{k.end(), shape_.kv_heads, shape_.head_dim};
  ops::rope_in_place(tape, kv, k, positions, rope);
  return {{kv, k}, {kv, v}};
}

Var CrossAttention::forward(Tape& tape, Var x, const ops::KeyValueHeads& memory, const nn::Pass& pass) const {
  Var normed = ops::rmsnorm(tape, x, norm_.weight(), shape_.norm_eps);
  ops::Heads q{ops::linear(tape, normed, q_.weight()), {0, shape_.heads, shape_.head_dim}};
  ops::rope_in_place(tape, q.var, q.columns, pass.positions, *pass.rope);
  ops::AttentionOutput attended = ops::span_attention(tape, q, {&memory, 1}, *pass.plan, shape_.attention_scale);
  return ops::linear_residual(tape, x, attended.o, out_.weight());
}

namespace {

class EncoderDecoderState final : public State {
 public:
  std::deque<KeyValueCache> memory;  // per decoder layer: keys and values of the encoder's output
  std::deque<KeyValueCache> own;     // per decoder layer: of BOS and the tokens behind it
  int64_t first_position = 0;        // of BOS
  std::vector<int32_t> ids;          // of the call in progress
  std::vector<int32_t> positions;    // of the call in progress

  int64_t read() const { return memory.front().length(); }
  int64_t written() const { return own.front().length(); }
  int64_t length() const override { return read() + std::max<int64_t>(written() - 1, 0); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const KeyValueCache& cache : memory) total += cache.bytes();
    for (const KeyValueCache& cache : own) total += cache.bytes();
    return total;
  }
};

}  // namespace

EncoderDecoder::EncoderDecoder(const ModelConfig& config, const Precision& precision,
                               ParameterStore::Gradients gradients)
    : Model(config),
      embedding_(parameters().add("embedding.weight", {config.vocab_size, config.dim}, MupGroup::embedding,
                                  Initial::xavier_uniform)),
      encoder_norm_weight_(parameters().add("encoder_norm.weight", {config.dim}, MupGroup::vector, Initial::ones)),
      encoder_norm_bias_(parameters().add("encoder_norm.bias", {config.dim}, MupGroup::vector, Initial::zeros)),
      output_norm_weight_(parameters().add("output_norm.weight", {config.dim}, MupGroup::vector, Initial::ones)),
      output_norm_bias_(parameters().add("output_norm.bias", {config.dim}, MupGroup::vector, Initial::zeros)) {
  nn::LayerShape shape = layer_shape(config);
  for (int64_t i = 0; i < config.n_encoder_layers; ++i) {
    encoder_.emplace_back(parameters(), fmt::format("encoder_layers.{}", i), shape);
  }
  for (int64_t i = 0; i < config.n_decoder_layers; ++i) {
    decoder_.emplace_back(parameters(), fmt::format("decoder_layers.{}", i), shape);
  }
  parameters().allocate(precision, gradients);
  rotary_.build(config.max_seq_len, config.head_size(), config.rope_base, config.rope_pairs, precision.residual);
}

void EncoderDecoder::prepare(Batch& batch, Rng& rng) const {
  check_objective(config(), batch);
  switch (batch.objective) {
    case Objective::prefix_lm:
      draw_prefixes(batch, rng);
      lay_out_prefixes(batch, config(), config().decoder_positions == DecoderPositions::after_prompt);
      return;
    case Objective::conversation: return lay_out_turns(batch, config());
    case Objective::span_corruption:
    case Objective::text: break;  // check_objective() refuses text
  }
  draw_spans(batch, config(), rng);
  lay_out_spans(batch, config());
}

Var EncoderDecoder::encode(Tape& tape, std::span<const int32_t> ids, std::span<const int32_t> positions) {
  nn::Pass pass{positions, &rotary_.table(), &encoder_plan_};
  Var x = ops::embedding(tape, embedding_.table(), ids);
  seen("hidden.enc_embed", x);
  for (size_t i = 0; i < encoder_.size(); ++i) {
    x = encoder_[i].forward(tape, x, pass, nullptr);
    seen(fmt::format("hidden.enc.{}", i), x);
  }
  x = ops::layernorm(tape, x, encoder_norm_weight_.weight(), encoder_norm_bias_.weight(), config().output_norm_eps);
  seen("hidden.enc_norm", x);
  return x;
}

Var EncoderDecoder::decode_layers(Tape& tape, std::span<const int32_t> ids, std::span<const int32_t> positions,
                                  std::span<const ops::KeyValueHeads> memory, std::deque<KeyValueCache>* caches) {
  nn::Pass own{positions, &rotary_.table(), &own_plan_}, reads{positions, &rotary_.table(), &memory_plan_};
  Var x = ops::embedding(tape, embedding_.table(), ids);
  seen("hidden.dec_embed", x);
  for (size_t i = 0; i < decoder_.size(); ++i) {
    x = decoder_[i].forward(tape, x, memory[i], own, reads, caches ? &(*caches)[i] : nullptr);
    seen(fmt::format("hidden.dec.{}", i), x);
  }
  x = ops::layernorm(tape, x, output_norm_weight_.weight(), output_norm_bias_.weight(), config().output_norm_eps);
  seen("hidden.out_norm", x);
  return x;
}

Var EncoderDecoder::hidden(Tape& tape, const Batch& batch) {
  if (!batch.two_sided) throw LogicError({.what = "encoder_decoder: the batch was not prepared"});
  plan_bidirectional(encoder_plan_, batch.reader.sequences);
  plan_own_blocks(own_plan_, batch.writer.blocks);
  plan_reads(memory_plan_, batch.writer.blocks);
  Var memory = encode(tape, batch.reader.ids, batch.reader.positions);
  std::vector<ops::KeyValueHeads> projected;
  for (const CrossDecoderLayer& layer : decoder_) {
    projected.push_back(layer.cross.project(tape, memory, batch.reader.positions, rotary_.table()));
  }
  return decode_layers(tape, batch.writer.ids, batch.writer.positions, projected, nullptr);
}

std::unique_ptr<State> EncoderDecoder::new_state(int64_t capacity) const {
  auto state = std::make_unique<EncoderDecoderState>();
  for (size_t i = 0; i < decoder_.size(); ++i) {
    DType type = parameters().precision().activation;
    state->memory.emplace_back(type, capacity, config().kv_heads(), config().head_size());
    // What is read is at least one token, so that BOS has room.
    state->own.emplace_back(type, capacity, config().kv_heads(), config().head_size());
  }
  return state;
}

void EncoderDecoder::prefill(Tape& tape, State& state_base, std::span<const int32_t> ids) {
  auto& state = static_cast<EncoderDecoderState&>(state_base);
  if (state.read() > 0) throw LogicError({.what = "prefill: the sequence was begun already"});
  if (ids.empty()) return;
  state.ids.assign(ids.begin(), ids.end());
  consecutive_positions(state.positions, 0, ids.size());
  TokenRange sequence{0, static_cast<int64_t>(ids.size())};
  plan_bidirectional(encoder_plan_, {&sequence, 1});
  Var memory = encode(tape, state.ids, state.positions);
  for (size_t i = 0; i < decoder_.size(); ++i) {
    ops::KeyValueHeads heads = decoder_[i].cross.project(tape, memory, state.positions, rotary_.table());
    state.memory[i].append(heads.k.value(), heads.v.value());
  }
  if (config().decoder_positions == DecoderPositions::after_prompt) state.first_position = sequence.end;
}

void EncoderDecoder::decode(Tape& tape, State& state_base, int32_t id, std::span<float> logits) {
  auto& state = static_cast<EncoderDecoderState&>(state_base);
  check_document_tokens(config());
  auto bos = static_cast<int32_t>(config().bos_id);
  if (state.read() == 0) {
    prefill(tape, state, {&id, 1});
    state.ids = {bos};
  } else if (state.written() == 0) {
    state.ids = {bos, id};
  } else {
    state.ids = {id};
  }
  auto count = static_cast<int64_t>(state.ids.size());
  consecutive_positions(state.positions, state.first_position + state.written(), state.ids.size());
  nn::plan_cached(own_plan_, count, state.written() + count);
  WriterBlock block{{0, count}, {0, state.read()}};
  plan_reads(memory_plan_, {&block, 1});
  std::vector<ops::KeyValueHeads> memory;
  for (const KeyValueCache& cache : state.memory) memory.push_back(nn::cached_heads(tape, cache));
  Var x = decode_layers(tape, state.ids, state.positions, memory, &state.own);
  int32_t last[] = {static_cast<int32_t>(count - 1)};
  logits_of(tape, count > 1 ? ops::select_rows(tape, x, last) : x, logits);
}

Costs EncoderDecoder::costs() const {
  const ModelConfig& c = config();
  auto encoder = static_cast<double>(c.n_encoder_layers), decoder = static_cast<double>(c.n_decoder_layers);
  LayerCosts layer = layer_costs(c);
  double head = 2.0 * static_cast<double>(c.vocab_size * c.dim);
  auto context = static_cast<double>(c.max_seq_len);
  // Of a row's tokens a share is replaced: the encoder reads the others and the sentinels, the decoder writes the share
  // and the sentinels.
  double sentinels = c.noise_density / c.mean_span_length;
  double read = 1 - c.noise_density + sentinels, written = c.noise_density + sentinels;
  // A second attention without a key/value projection of its own for each written token.
  double cross = layer.q_and_out;
  double forward = read * encoder * (layer.matrices + layer.attention_per_key * read * context) +
                   read * decoder * layer.kv_projection +
                   written * decoder *
                       (layer.matrices + cross + layer.attention_per_key * (written * context / 2 + read * context)) +
                   written * head;
  Costs costs;
  costs.flops_per_training_token = 3 * forward;
  costs.flops_per_generated_token = decoder * (layer.matrices + cross + layer.attention_per_key * context) + head;
  double per_layer = layer.cache_bytes(parameters().precision());
  costs.cache_bytes_per_token = decoder * per_layer;
  // Both directions are read: a longer prompt is read anew, and no state of the encoder helps.
  costs.cache_bytes_with_encoder = costs.cache_bytes_per_token;
  costs.cache_bytes_at_rest = static_cast<double>(c.dim * dtype_bytes(parameters().precision().activation));
  return costs;
}

}  // namespace tandem
