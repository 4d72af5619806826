#include "arch/double_decoder.h"

#include <algorithm>

#include "arch/boundaries.h"
#include "arch/double_decoder_state.h"
#include "arch/plans.h"
#include "arch/shared.h"
#include "arch/sides.h"
#include "base/error.h"
#include "ops/embedding.h"
#include "ops/fork.h"
#include "ops/linear.h"
#include "ops/rmsnorm.h"

namespace tandem {

JointAttentionLayer::JointAttentionLayer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape,
                                         MemoryKv memory_kv, bool logit_biases)
    : shape_(shape),
      norm_(store.add(prefix + ".norm1.weight", {shape.dim}, MupGroup::vector, Initial::ones)),
      q_(store.add(prefix + ".attention.q.weight", {shape.q_dim(), shape.dim}, MupGroup::matrix,
                   Initial::xavier_uniform)),
      own_kv_(store.add(prefix + ".attention.kv.weight", {2 * shape.kv_dim(), shape.dim}, MupGroup::matrix,
                        Initial::xavier_uniform)),
      out_(store.add(prefix + ".attention.out.weight", {shape.dim, shape.q_dim()}, MupGroup::matrix,
                     Initial::xavier_uniform)),
      mlp_(store, prefix, shape) {
  if (memory_kv == MemoryKv::per_layer) {
    memory_kv_ = &store.add(prefix + ".attention.memory_kv.weight", {2 * shape.kv_dim(), shape.dim}, MupGroup::matrix,
                            Initial::xavier_uniform);
  }
  if (logit_biases) {
    gate_bias_ = &store.add(prefix + ".attention.gate_bias", {shape.heads, 2}, MupGroup::vector, Initial::zeros);
    gate_temperature_ =
        &store.add(prefix + ".attention.gate_temperature", {shape.heads}, MupGroup::vector, Initial::ones);
  }
}

ops::KeyValueHeads JointAttentionLayer::memory_heads(Var projected) const {
  ops::HeadColumns k{0, shape_.kv_heads, shape_.head_dim};
  ops::HeadColumns v{k.end(), shape_.kv_heads, shape_.head_dim};
  return {{projected, k}, {projected, v}};
}

Var JointAttentionLayer::project_memory(Tape& tape, Var memory, std::span<const int32_t> positions,
                                        const ops::RopeTable& rope) const {
  Var projected = ops::linear(tape, memory, (memory_kv_ ? *memory_kv_ : own_kv_).weight());
  ops::rope_in_place(tape, projected, memory_heads(projected).k.columns, positions, rope);
  return projected;
}

Var JointAttentionLayer::attend(Tape& tape, const ops::Heads& q, const ops::KeyValueHeads& own,
                                const ops::KeyValueHeads& memory, const Plans& plans, const Observer* seen) const {
  double scale = shape_.attention_scale;
  if (!gate_bias_) {
    std::array<ops::KeyValueHeads, 2> sources{own, memory};
    return ops::span_attention(tape, q, sources, plans.joint, scale).o;
  }
  // Two attentions read the same queries, and their gradients add up.
  ops::Heads q_own{ops::fork(tape, q.var), q.columns}, q_memory{ops::fork(tape, q.var), q.columns};
  ops::AttentionOutput a = ops::span_attention(tape, q_own, {&own, 1}, plans.own_only, scale, true);
  ops::AttentionOutput b = ops::span_attention(tape, q_memory, {&memory, 1}, plans.memory_only, scale, true);
  if (seen) {
    (*seen)("lse_self", a.source_lse);
    (*seen)("lse_cross", b.source_lse);
  }
  return ops::lse_gate(tape, a, b, gate_bias_->weight(), gate_temperature_->weight());
}

Var JointAttentionLayer::forward(Tape& tape, Var x, const ops::KeyValueHeads& memory, const Pass& pass,
                                 const nn::CacheColumns* own_cache, const Observer* seen) const {
  return mlp_.forward(tape, tape.section(Recompute::attention,
                                         [=, this](Tape& t) { return attend(t, x, memory, pass, own_cache, seen); }));
}

Var JointAttentionLayer::attend(Tape& tape, Var x, const ops::KeyValueHeads& memory, const Pass& pass,
                                const nn::CacheColumns* own_cache, const Observer* seen) const {
  Var normed = ops::rmsnorm(tape, x, norm_.weight(), shape_.norm_eps);
  Var q = ops::linear(tape, normed, q_.weight(), /*shared_grad=*/gate_bias_ != nullptr);
  Var kv = ops::linear(tape, normed, own_kv_.weight());
  ops::Heads queries{q, {0, shape_.heads, shape_.head_dim}};
  ops::KeyValueHeads own = memory_heads(kv);  // the same layout: keys, then values
  ops::rope_in_place(tape, q, queries.columns, pass.positions, *pass.rope);
  ops::rope_in_place(tape, kv, own.k.columns, pass.positions, *pass.rope);
  if (own_cache) own = nn::extend_cache(tape, *own_cache, own);
  Var attended = attend(tape, queries, own, memory, *pass.plans, seen);
  return ops::linear_residual(tape, x, attended, out_.weight());
}

void plan_blocks(JointAttentionLayer::Plans& plans, std::span<const WriterBlock> blocks, bool separate) {
  plan_joint(plans.joint, blocks);
  if (!separate) blocks = {};
  plan_own_blocks(plans.own_only, blocks);
  plan_reads(plans.memory_only, blocks);
}

namespace {

DoubleDecoderState& state_of(const Piece& piece) { return static_cast<DoubleDecoderState&>(*piece.state); }

}  // namespace

DoubleDecoder::DoubleDecoder(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients)
    : Model(config),
      boundary_rule_{config.boundaries, config.max_blocks, PromptLengths::parse(config.prompt_lengths, "model")},
      embedding_(parameters().add("embedding.weight", {config.vocab_size, config.dim}, MupGroup::embedding,
                                  Initial::xavier_uniform)),
      encoder_norm_(parameters(), "encoder_norm", config.dim, config.output_norm, config.output_norm_eps),
      output_norm_(parameters(), "output_norm", config.dim, config.output_norm, config.output_norm_eps) {
  nn::LayerShape shape = layer_shape(config);
  for (int64_t i = 0; i < config.n_encoder_layers; ++i) {
    encoder_.emplace_back(parameters(), fmt::format("encoder_layers.{}", i), shape);
  }
  for (int64_t i = 0; i < config.n_decoder_layers; ++i) {
    decoder_.emplace_back(parameters(), fmt::format("decoder_layers.{}", i), shape, config.memory_kv,
                          config.logit_biases);
  }
  if (config.memory_kv == MemoryKv::one_for_all) {
    memory_kv_ = &parameters().add("memory_kv.weight", {2 * shape.kv_dim(), shape.dim}, MupGroup::matrix,
                                   Initial::xavier_uniform);
  }
  parameters().allocate(precision, gradients);
  rotary_.build(config.max_seq_len, config.head_size(), config.rope_base, config.rope_pairs, precision.residual);
}

void DoubleDecoder::prepare(Batch& batch, Rng& rng) const {
  check_objective(config(), batch);
  switch (batch.objective) {
    case Objective::prefix_lm: draw_prefixes(batch, rng); return lay_out_prefixes(batch, config(), true);
    case Objective::conversation: return lay_out_responses(batch);
    case Objective::text:
    case Objective::span_corruption: break;  // check_objective() refuses span corruption
  }
  std::vector<int32_t> row = draw_boundaries(boundary_rule_, batch.length, rng);
  batch.boundaries.clear();
  for (int64_t b = 0; b < batch.rows; ++b) {
    for (int32_t t : row) batch.boundaries.push_back(static_cast<int32_t>(b * batch.length + t));
  }
}

std::vector<Var> DoubleDecoder::project(Tape& tape, Var memory, std::span<const int32_t> positions) const {
  std::vector<Var> projected;
  projected.reserve(decoder_.size());
  if (!memory_kv_) {
    for (const JointAttentionLayer& layer : decoder_) {
      projected.push_back(layer.project_memory(tape, memory, positions, rotary_.table()));
    }
    return projected;
  }
  // Attention overwrites the gradient of its keys and values, so every layer gets a handle of its own.
  Var shared = ops::linear(tape, memory, memory_kv_->weight(), /*shared_grad=*/true);
  ops::rope_in_place(tape, shared, decoder_.front().memory_heads(shared).k.columns, positions, rotary_.table());
  for (size_t i = 0; i < decoder_.size(); ++i) projected.push_back(ops::fork(tape, shared));
  return projected;
}

Var DoubleDecoder::encode(Tape& tape, std::span<const int32_t> ids, std::span<const int32_t> positions,
                          const PagePool* cache) {
  nn::Pass pass{positions, &rotary_.table(), &encoder_plan_};
  Var x = ops::embedding(tape, embedding_.table(), ids);
  seen("hidden.embed", x);
  static const std::string embed = "hidden.enc_embed";  // too long to be made in every pass without allocating
  seen(embed, x);
  for (size_t i = 0; i < encoder_.size(); ++i) {
    nn::CacheColumns columns = cache ? pass_.layer(*cache, i) : nn::CacheColumns();
    x = encoder_[i].forward(tape, x, pass, cache ? &columns : nullptr);
    seen(fmt::format("hidden.enc.{}", i), x);
  }
  x = encoder_norm_.forward(tape, x);
  seen("hidden.enc_norm", x);
  return x;
}

Var DoubleDecoder::hidden(Tape& tape, const Batch& batch) {
  // Of plain text both sides are the rows themselves.
  const bool rows = !batch.two_sided;
  plan_causal(encoder_plan_, rows ? batch.texts() : batch.reader.sequences);
  plan_blocks(plans_, rows ? text_blocks(batch) : batch.writer.blocks, config().logit_biases);
  std::span<const int32_t> read_positions = rows ? batch.positions : batch.reader.positions;
  Var memory = encode(tape, rows ? batch.ids : batch.reader.ids, read_positions, nullptr);
  const bool recomputes = tape.recording() && tape.recompute() != Recompute::none;
  // Where layers are recomputed their projections of the encoder's output are, too.
  const bool projects = recomputes && tape.recompute() == Recompute::layers && !memory_kv_;
  std::vector<Var> projected(decoder_.size(), nullptr);
  if (!projects) projected = project(tape, memory, read_positions);
  JointAttentionLayer::Pass pass{rows ? batch.positions : batch.writer.positions, &rotary_.table(), &plans_};
  Var x = ops::embedding(tape, embedding_.table(), rows ? batch.ids : batch.writer.ids);
  static const std::string embed = "hidden.dec_embed";  // too long to be made in every pass without allocating
  seen(embed, x);
  for (size_t i = 0; i < decoder_.size(); ++i) {
    JointAttentionLayer::Observer report = [&](const char* name, Var v) { seen(fmt::format("dec.{}.{}", i, name), v); };
    x = tape.section(Recompute::layers, [=, layer = &decoder_[i], given = projected[i], rope = &rotary_.table(),
                                         observer = recomputes ? nullptr : &report](Tape& t) {
      Var keys = given ? given : layer->project_memory(t, memory, read_positions, *rope);
      return layer->forward(t, x, layer->memory_heads(keys), pass, nullptr, observer);
    });
    seen(fmt::format("hidden.dec.{}", i), x);
  }
  x = output_norm_.forward(tape, x);
  seen("hidden.out_norm", x);
  return x;
}

std::unique_ptr<Caches> DoubleDecoder::new_caches(const CacheOptions& options) const {
  auto columns = [&](size_t layers) {
    return key_value_columns(parameters().precision().activation, static_cast<int64_t>(layers), config().kv_heads(),
                             config().head_size());
  };
  return std::make_unique<DoubleDecoderCaches>(options, columns(memory_count()),
                                               output_columns(parameters().precision().activation, config().dim),
                                               columns(decoder_.size()), columns(encoder_.size()));
}

std::unique_ptr<State> DoubleDecoder::new_state(Caches& caches) const {
  return std::make_unique<DoubleDecoderState>(static_cast<DoubleDecoderCaches&>(caches));
}

void DoubleDecoder::encode_pieces(Tape& tape, std::span<const Piece> pieces) {
  pass_.clear();
  encoder_plan_.clear(1);
  memory_slots_.clear();
  for (const Piece& piece : pieces) {
    DoubleDecoderState& state = state_of(piece);
    auto count = static_cast<int64_t>(piece.ids.size());
    pass_.add(piece.ids, state.memory.length());
    if (count > 0 && state.at_once) {
      pass_.read_once(encoder_plan_, count, /*causal=*/true);
    } else if (count > 0) {
      pass_.read_causal(encoder_plan_, state.encoder, count);
    }
    state.at_once = state.at_once && count == 0;
    state.memory.append(count, memory_slots_);
    state.read_ids.insert(state.read_ids.end(), piece.ids.begin(), piece.ids.end());
    state.block_begin = state.memory.length();
  }
  if (pass_.size() == 0) return;
  const DoubleDecoderState& first = state_of(pieces.front());
  Var memory = encode(tape, pass_.ids, pass_.positions, &first.encoder.pool());
  keep_memory(tape, memory, pass_.positions, first.memory.projected().pool(), memory_slots_);
  int64_t row = 0;
  for (const Piece& piece : pieces) {
    auto count = static_cast<int64_t>(piece.ids.size());
    state_of(piece).memory.keep(memory->value.slice_rows(row, row + count));
    row += count;
  }
}

void DoubleDecoder::keep_memory(Tape& tape, Var memory, std::span<const int32_t> positions, const PagePool& pool,
                                std::span<const int32_t> slots) const {
  std::vector<Var> projected = project(tape, memory, positions);
  for (size_t i = 0; i < memory_count(); ++i) {
    keep_heads(tape, pool, i, slots, decoder_[i].memory_heads(projected[i]));
  }
}

void DoubleDecoder::wake_states(Tape& tape, std::span<State* const> states) {
  waking_.clear();
  for (State* state : states) waking_.add(static_cast<DoubleDecoderState*>(state)->memory);
  const PagePool& pool = static_cast<DoubleDecoderState*>(states.front())->memory.projected().pool();
  keep_memory(tape, waking_.vectors(tape), waking_.positions(), pool, waking_.slots());
}

void DoubleDecoder::restore_encoder(Tape& tape, std::span<const Piece> pieces) {
  pass_.clear();
  encoder_plan_.clear(1);
  for (const Piece& piece : pieces) {
    DoubleDecoderState& state = state_of(piece);
    if (!piece.ids.empty()) state.restore_spilled();
    int64_t count = piece.ids.empty() ? 0 : state.dropped();
    if (count == 0) continue;
    state.caches->counts().recomputed += count;
    int64_t first = state.encoder.length();
    pass_.add(std::span<const int32_t>(state.read_ids).subspan(static_cast<size_t>(first)), first);
    pass_.read_causal(encoder_plan_, state.encoder, count);
  }
  if (pass_.size() > 0) encode(tape, pass_.ids, pass_.positions, &state_of(pieces.front()).encoder.pool());
}

void DoubleDecoder::read_pieces(Tape& tape, std::span<const Piece> pieces) {
  wake_pieces(tape, pieces);
  restore_encoder(tape, pieces);
  encode_pieces(tape, pieces);
}

void DoubleDecoder::write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) {
  // Where nothing was read before: as in training, the encoder's output of the first token is there to be seen by
  // block 0.
  std::vector<Piece> unread;
  for (const Piece& piece : pieces) {
    if (state_of(piece).memory.length() == 0) unread.push_back({piece.state, piece.ids.first(1)});
  }
  if (!unread.empty()) encode_pieces(tape, unread);
  for (const Piece& piece : unread) state_of(piece).block_begin = 0;

  pass_.clear();
  plans_.joint.clear(2);
  plans_.own_only.clear(1);
  plans_.memory_only.clear(1);
  plans_.memory_only.order = QueryOrder::by_query;
  for (const Piece& piece : pieces) {
    DoubleDecoderState& state = state_of(piece);
    auto count = static_cast<int64_t>(piece.ids.size());
    int64_t first = pass_.add(piece.ids, state.block_begin + state.own.length());
    pass_.write_causal(plans_.joint, 0, state.own, count);
    add_paged_spans(plans_.joint, 1, state.memory.projected(), first, 0);
    state.own_ids.insert(state.own_ids.end(), piece.ids.begin(), piece.ids.end());
    if (!config().logit_biases) continue;
    plans_.own_only.add_run(first, first + count);
    plans_.own_only.order = QueryOrder::by_query;
    add_paged_spans(plans_.own_only, 0, state.own, first, count);
    plans_.memory_only.add_run(first, first + count);
    add_paged_spans(plans_.memory_only, 0, state.memory.projected(), first, 0);
  }
  const DoubleDecoderState& first = state_of(pieces.front());
  JointAttentionLayer::Pass pass{pass_.positions, &rotary_.table(), &plans_};
  Var x = ops::embedding(tape, embedding_.table(), pass_.ids);
  for (size_t i = 0; i < decoder_.size(); ++i) {
    ops::KeyValueHeads memory = layer_heads(tape, first.memory.projected().pool(), memory_kv_ ? 0 : i);
    nn::CacheColumns own_columns = pass_.layer(first.own.pool(), i);
    x = decoder_[i].forward(tape, x, memory, pass, &own_columns, nullptr);
  }
  x = output_norm_.forward(tape, x);
  logits_of(tape, x, logits);
}

double DoubleDecoder::pass_share(PassKind kind, const Parameter& parameter) const {
  const std::string& name = parameter.name();
  bool encoder = name.starts_with("encoder_"), projects = name.ends_with("memory_kv.weight");
  // The layer's own projection serves both.
  bool shared = config().memory_kv == MemoryKv::per_layer_shared && name.ends_with(".attention.kv.weight");
  bool needed = kind == PassKind::read ? encoder || projects || shared : !encoder && !projects;
  return needed ? 1 : 0;
}

Costs DoubleDecoder::costs() const {
  const ModelConfig& c = config();
  auto encoder = static_cast<double>(c.n_encoder_layers), decoder = static_cast<double>(c.n_decoder_layers);
  LayerCosts layer = layer_costs(c);
  double head = 2.0 * static_cast<double>(c.vocab_size * c.dim);
  auto context = static_cast<double>(c.max_seq_len);
  // Whatever the blocks are, a query at position t sees t + 1 keys in all.
  double attention = layer.attention_per_key * context / 2;
  Costs costs;
  auto projections = static_cast<double>(memory_count());
  costs.flops_per_training_token =
      3 * (encoder * (layer.matrices + attention) + decoder * (layer.matrices + attention) +
           projections * layer.kv_projection + head);
  costs.flops_per_generated_token = decoder * (layer.matrices + layer.attention_per_key * context) + head;
  costs.flops_per_prompt_token = encoder * (layer.matrices + attention) + projections * layer.kv_projection;
  double per_layer = layer.cache_bytes(parameters().precision());
  costs.cache_bytes_per_token = projections * per_layer;
  costs.cache_bytes_with_encoder = (encoder + projections) * per_layer;
  costs.cache_bytes_at_rest = static_cast<double>(c.dim * dtype_bytes(parameters().precision().activation));
  return costs;
}

}  // namespace tandem
