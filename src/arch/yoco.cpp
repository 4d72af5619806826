#include "arch/yoco.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "arch/plans.h"
#include "arch/shared.h"
#include "arch/sides.h"
#include "arch/yoco_state.h"
#include "ops/embedding.h"
#include "ops/fork.h"
#include "ops/gated_norm.h"
#include "ops/gated_retention.h"
#include "ops/linear.h"
#include "ops/rmsnorm.h"
#include "ops/scale.h"

namespace tandem {

RetentionMixer::RetentionMixer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape,
                               double decay_divisor)
    : shape_(shape),
      decay_divisor_(decay_divisor),
      norm_(store.add(prefix + ".norm1.weight", {shape.dim}, MupGroup::vector, Initial::ones)),
      qkvg_(store.add(prefix + ".retention.qkvg.weight", {4 * shape.q_dim(), shape.dim}, MupGroup::matrix,
                      Initial::xavier_uniform)),
      decay_(store.add(prefix + ".retention.decay.weight", {shape.heads, shape.dim}, MupGroup::matrix,
                       Initial::xavier_uniform)),
      out_(store.add(prefix + ".retention.out.weight", {shape.dim, shape.q_dim()}, MupGroup::matrix,
                     Initial::xavier_uniform)) {}

Var RetentionMixer::mix(Tape& tape, Var x, const Pass& pass, const Cache* cache) const {
  Var normed = ops::rmsnorm(tape, x, norm_.weight(), shape_.norm_eps);
  Var qkvg = ops::linear(tape, normed, qkvg_.weight());
  Var decay_gates = ops::linear(tape, normed, decay_.weight());
  ops::HeadColumns q{0, shape_.heads, shape_.head_dim}, k{q.end(), shape_.heads, shape_.head_dim};
  ops::HeadColumns v{k.end(), shape_.heads, shape_.head_dim}, g{v.end(), shape_.heads, shape_.head_dim};
  ops::rope_in_place(tape, qkvg, {0, 2 * shape_.heads, shape_.head_dim}, pass.positions, *pass.rope);
  Var decay = ops::log_decay(tape, {decay_gates, {0, shape_.heads, 1}}, decay_divisor_);
  ops::RetentionOperands operands{{qkvg, q}, {{qkvg, k}, {qkvg, v}}, decay};
  Tensor states;
  if (cache) {
    const nn::CachePass& rows = cache->pass->cache_pass();
    operands.source = nn::extend_cache(tape, {cache->k, cache->v, &rows}, operands.source);
    Tensor fresh = decay->value.view({decay->value.rows(), shape_.heads, 1});
    Tensor decays = nn::extend_column(tape, cache->log_decay, rows, fresh);
    operands.log_decay = tape.constant(decays.view({decays.rows(), shape_.heads}));
    states = cache->pass->load_states(tape, cache->states);
  }
  Var o = ops::gated_retention(tape, operands, *pass.plan, states, shape_.attention_scale);
  if (cache) cache->pass->store_states(cache->states, states);
  return ops::linear_residual(tape, x, ops::gated_norm(tape, o, {qkvg, g}, shape_.norm_eps), out_.weight());
}

YocoSelfLayer::YocoSelfLayer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape,
                             const ModelConfig& config)
    : attention_(config.self_decoder == SelfDecoder::sliding_window
                     ? std::make_optional<nn::SelfAttention>(store, prefix, shape)
                     : std::nullopt),
      retention_(config.self_decoder == SelfDecoder::gated_retention
                     ? std::make_optional<RetentionMixer>(store, prefix, shape, config.decay_divisor)
                     : std::nullopt),
      mlp_(store, prefix, shape) {}

Var YocoSelfLayer::forward(Tape& tape, Var x, std::span<const int32_t> positions, const ops::RopeTable& rope,
                           const Plans& plans) const {
  nn::Pass window{positions, &rope, &plans.window};
  RetentionMixer::Pass retention{positions, &rope, &plans.retention};
  return tape.section(Recompute::layers, [=, this](Tape& t) {
    return mlp_.forward(
        t, attention_ ? attention_->forward(t, x, window, nullptr) : retention_->forward(t, x, retention, nullptr));
  });
}

Var YocoSelfLayer::advance(Tape& tape, Var x, const ops::RopeTable& rope, RecentPass& pass, const PagePool& pool,
                           size_t index) const {
  if (attention_) {
    nn::CacheColumns columns{pool.column(2 * index), pool.column(2 * index + 1), &pass.cache_pass()};
    x = attention_->forward(tape, x, {pass.positions, &rope, &pass.window_plan()}, &columns);
  } else {
    RetentionMixer::Cache cache{pool.column(4 * index), pool.column(4 * index + 1), pool.column(4 * index + 2),
                                pool.column(4 * index + 3), &pass};
    x = retention_->forward(tape, x, {pass.positions, &rope, &pass.retention_plan()}, &cache);
  }
  return mlp_.forward(tape, x);
}

YocoCrossLayer::YocoCrossLayer(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape)
    : shape_(shape),
      norm_(store.add(prefix + ".norm1.weight", {shape.dim}, MupGroup::vector, Initial::ones)),
      q_(store.add(prefix + ".cross_attention.q.weight", {shape.q_dim(), shape.dim}, MupGroup::matrix,
                   Initial::xavier_uniform)),
      out_(store.add(prefix + ".cross_attention.out.weight", {shape.dim, shape.q_dim()}, MupGroup::matrix,
                     Initial::xavier_uniform)),
      mlp_(store, prefix, shape) {}

Var YocoCrossLayer::forward(Tape& tape, Var x, const ops::KeyValueHeads& shared, const nn::Pass& pass) const {
  return tape.section(Recompute::layers, [=, this](Tape& t) {
    return mlp_.forward(
        t, t.section(Recompute::attention, [=, this](Tape& inner) { return attend(inner, x, shared, pass); }));
  });
}

Var YocoCrossLayer::attend(Tape& tape, Var x, const ops::KeyValueHeads& shared, const nn::Pass& pass) const {
  Var normed = ops::rmsnorm(tape, x, norm_.weight(), shape_.norm_eps);
  ops::Heads q{ops::linear(tape, normed, q_.weight()), {0, shape_.heads, shape_.head_dim}};
  ops::rope_in_place(tape, q.var, q.columns, pass.positions, *pass.rope);
  ops::AttentionOutput attended = ops::span_attention(tape, q, {&shared, 1}, *pass.plan, shape_.attention_scale);
  return ops::linear_residual(tape, x, attended.o, out_.weight());
}

namespace {

nn::LayerShape cross_shape(const ModelConfig& config) {
  nn::LayerShape shape = layer_shape(config);
  shape.swiglu = true;
  return shape;
}

nn::LayerShape self_shape(const ModelConfig& config) {
  nn::LayerShape shape = cross_shape(config);
  shape.heads = shape.kv_heads = config.self_heads();
  shape.head_dim = config.self_head_size();
  shape.attention_scale = config.self_attention_scale();
  return shape;
}

YocoState& state_of(const Piece& piece) { return static_cast<YocoState&>(*piece.state); }

}  // namespace

Yoco::Yoco(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients)
    : Model(config),
      cross_shape_(cross_shape(config)),
      embedding_(parameters().add("embedding.weight", {config.vocab_size, config.dim}, MupGroup::embedding,
                                  Initial::xavier_uniform)),
      kv_norm_(parameters().add("kv_norm.weight", {config.dim}, MupGroup::vector, Initial::ones)),
      kv_(parameters().add("shared_kv.weight", {2 * cross_shape_.kv_dim(), config.dim}, MupGroup::matrix,
                           Initial::xavier_uniform)),
      output_norm_(parameters().add("output_norm.weight", {config.dim}, MupGroup::vector, Initial::ones)),
      output_(parameters().add("output.weight", {config.vocab_size, config.dim}, MupGroup::embedding,
                               Initial::xavier_uniform)),
      recent_(this->config()) {
  for (int64_t i = 0; i < config.n_encoder_layers; ++i) {
    self_.emplace_back(parameters(), fmt::format("encoder_layers.{}", i), self_shape(config), config);
  }
  for (int64_t i = 0; i < config.n_decoder_layers; ++i) {
    cross_.emplace_back(parameters(), fmt::format("decoder_layers.{}", i), cross_shape_);
  }
  parameters().allocate(precision, gradients);
  auto build = [&](nn::Rotary& rotary, int64_t head_size) {
    rotary.build(config.max_seq_len, head_size, config.rope_base, config.rope_pairs, precision.residual,
                 kernels::RopeFrequencies::end_included);
  };
  build(self_rotary_, config.self_head_size());
  build(cross_rotary_, config.head_size());
}

void Yoco::prepare(Batch& batch, Rng& rng) const {
  check_objective(config(), batch);
  if (batch.objective == Objective::prefix_lm) {
    draw_prefixes(batch, rng);
    label_suffixes(batch, config());
  }
  if (batch.objective == Objective::conversation) lay_out_conversations(batch);
}

Var Yoco::embed(Tape& tape, std::span<const int32_t> ids) const {
  Var x = ops::embedding(tape, embedding_.table(), ids);
  ops::scale_in_place(tape, x, config().embedding_scale());
  return x;
}

ops::KeyValueHeads Yoco::shared_heads(Var projected) const {
  ops::HeadColumns k{0, cross_shape_.kv_heads, cross_shape_.head_dim};
  ops::HeadColumns v{k.end(), cross_shape_.kv_heads, cross_shape_.head_dim};
  return {{projected, k}, {projected, v}};
}

Var Yoco::project(Tape& tape, Var x, std::span<const int32_t> positions) const {
  Var normed = ops::rmsnorm(tape, x, kv_norm_.weight(), config().output_norm_eps);
  // Attention overwrites the gradient of its keys and values: every layer gets a handle of its own.
  Var projected = ops::linear(tape, normed, kv_.weight(), /*shared_grad=*/true);
  ops::rope_in_place(tape, projected, shared_heads(projected).k.columns, positions, cross_rotary_.table());
  return projected;
}

Var Yoco::hidden(Tape& tape, const Batch& batch) {
  const bool rows = !batch.two_sided;
  std::vector<TokenRange> sequences;
  if (rows) {
    sequences = batch.texts();
  } else {
    for (const WriterBlock& block : batch.writer.blocks) sequences.push_back(block.tokens);
  }
  plan_causal(cross_plan_, sequences);
  plan_window(plans_.window, sequences, config().window);
  plans_.retention.clear(QueryOrder::by_tile);
  for (const TokenRange& sequence : sequences) plans_.retention.add_sequence(sequence.begin, sequence.end);

  std::span<const int32_t> positions = rows ? batch.positions : batch.writer.positions;
  Var x = embed(tape, rows ? batch.ids : batch.writer.ids);
  seen("hidden.embed", x);
  for (size_t i = 0; i < self_.size(); ++i) {
    x = self_[i].forward(tape, x, positions, self_rotary_.table(), plans_);
    seen(fmt::format("hidden.enc.{}", i), x);
  }
  Var projected = project(tape, x, positions);
  seen("shared.k", tape.constant(shared_heads(projected).k.value()));
  seen("shared.v", tape.constant(shared_heads(projected).v.value()));
  nn::Pass pass{positions, &cross_rotary_.table(), &cross_plan_};
  for (size_t i = 0; i < cross_.size(); ++i) {
    x = cross_[i].forward(tape, x, shared_heads(ops::fork(tape, projected)), pass);
    seen(fmt::format("hidden.dec.{}", i), x);
  }
  x = ops::rmsnorm(tape, x, output_norm_.weight(), config().output_norm_eps);
  seen("hidden.out_norm", x);
  return x;
}

std::unique_ptr<Caches> Yoco::new_caches(const CacheOptions& options) const {
  const Precision& precision = parameters().precision();
  return std::make_unique<YocoCaches>(
      options, recent_columns(config(), precision.activation, precision.residual),
      key_value_columns(precision.activation, 1, config().kv_heads(), config().head_size()));
}

std::unique_ptr<State> Yoco::new_state(Caches& caches) const {
  return std::make_unique<YocoState>(static_cast<YocoCaches&>(caches), config());
}

Var Yoco::advance(Tape& tape, const PagePool& pool) {
  Var x = embed(tape, recent_.ids);
  for (size_t i = 0; i < self_.size(); ++i) {
    x = self_[i].advance(tape, x, self_rotary_.table(), recent_, pool, i);
  }
  return x;
}

void Yoco::restore(Tape& tape, std::span<const Piece> pieces) {
  while (true) {
    recent_.clear(/*reads=*/false);
    for (const Piece& piece : pieces) {
      YocoState& state = state_of(piece);
      std::span<const int32_t> ids = state.pending();
      if (ids.empty()) continue;
      recent_.add(ids.first(std::min<size_t>(ids.size(), RecentRows::kMostInPlace)), state.recent);
    }
    if (recent_.size() == 0) return;
    advance(tape, state_of(pieces.front()).recent.pool());
    for (const Piece& piece : pieces) {
      state_of(piece).recent.settle();
      if (state_of(piece).pending().empty()) state_of(piece).restored();
    }
  }
}

void Yoco::read_pieces(Tape& tape, std::span<const Piece> pieces) {
  restore(tape, pieces);
  recent_.clear(/*reads=*/true);
  shared_slots_.clear();
  for (const Piece& piece : pieces) {
    recent_.add(piece.ids, state_of(piece).recent);
    state_of(piece).shared.append(static_cast<int64_t>(piece.ids.size()), shared_slots_);
  }
  if (recent_.size() == 0) return;
  const YocoState& first = state_of(pieces.front());
  Var projected = project(tape, advance(tape, first.recent.pool()), recent_.positions);
  keep_heads(tape, first.shared.pool(), 0, shared_slots_, shared_heads(projected));
  for (const Piece& piece : pieces) state_of(piece).recent.settle();
}

void Yoco::write_round(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) {
  recent_.clear(/*reads=*/false);
  shared_slots_.clear();
  cross_plan_.clear(1);
  cross_plan_.order = QueryOrder::by_query;
  for (const Piece& piece : pieces) {
    YocoState& state = state_of(piece);
    int64_t first = recent_.size(), count = static_cast<int64_t>(piece.ids.size());
    state.note_written(piece.ids);
    recent_.add(piece.ids, state.recent);
    state.shared.append(count, shared_slots_);
    cross_plan_.add_run(first, first + count);
    add_paged_spans(cross_plan_, 0, state.shared, first, count);
  }
  const YocoState& first = state_of(pieces.front());
  Var x = advance(tape, first.recent.pool());
  keep_heads(tape, first.shared.pool(), 0, shared_slots_, shared_heads(project(tape, x, recent_.positions)));
  ops::KeyValueHeads shared = layer_heads(tape, first.shared.pool(), 0);
  nn::Pass pass{recent_.positions, &cross_rotary_.table(), &cross_plan_};
  for (const YocoCrossLayer& layer : cross_) x = layer.forward(tape, x, shared, pass);
  x = ops::rmsnorm(tape, x, output_norm_.weight(), config().output_norm_eps);
  logits_of(tape, x, logits);
  for (const Piece& piece : pieces) state_of(piece).recent.settle();
}

void Yoco::write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) {
  restore(tape, pieces);
  constexpr auto kMost = static_cast<size_t>(RecentRows::kMostInPlace);
  if (std::all_of(pieces.begin(), pieces.end(), [](const Piece& piece) { return piece.ids.size() <= kMost; })) {
    return write_round(tape, pieces, logits);
  }
  // Long pieces in rounds; the rows of the logits are those of whole pieces.
  for (size_t begin = 0;; begin += kMost) {
    std::vector<Piece> round;
    std::vector<int64_t> rows;  // of the logits
    int64_t row = 0;
    for (const Piece& piece : pieces) {
      if (begin < piece.ids.size()) {
        round.push_back({piece.state, piece.ids.subspan(begin, std::min(kMost, piece.ids.size() - begin))});
        for (size_t i = 0; i < round.back().ids.size(); ++i) rows.push_back(row + static_cast<int64_t>(begin + i));
      }
      row += static_cast<int64_t>(piece.ids.size());
    }
    if (round.empty()) return;
    Tensor part = tape.arena().tensor(logits.dtype, {static_cast<int64_t>(rows.size()), logits.row_size()});
    write_round(tape, round, part);
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(logits.row<float>(rows[i]), part.row<float>(static_cast<int64_t>(i)),
                  static_cast<size_t>(part.row_size()) * sizeof(float));
    }
  }
}

double Yoco::pass_share(PassKind kind, const Parameter& parameter) const {
  const std::string& name = parameter.name();
  bool table = &parameter == &embedding_;  // of which a token needs one row
  if (kind == PassKind::write) return table ? 1 / static_cast<double>(config().vocab_size) : 1;
  bool upper = name.starts_with("decoder_layers.") || name.starts_with("output");
  return table || upper ? 0 : 1;
}

namespace {

// Keys that a token of a row of `length` sees in a window, on average.
double mean_window(double window, double length) {
  return window >= length ? length / 2 : window - window * window / (2 * length);
}

}  // namespace

Costs Yoco::costs() const {
  const ModelConfig& c = config();
  const Precision& precision = parameters().precision();
  auto d = static_cast<double>(c.dim), length = static_cast<double>(c.max_seq_len);
  auto self_layers = static_cast<double>(c.n_encoder_layers), cross_layers = static_cast<double>(c.n_decoder_layers);
  auto heads = static_cast<double>(c.self_heads()), size = static_cast<double>(c.self_head_size());
  double mlp = 6 * d * static_cast<double>(c.mlp_size()), q = static_cast<double>(cross_shape_.q_dim());
  bool windows = c.self_decoder == SelfDecoder::sliding_window;
  auto window = std::min(static_cast<double>(c.window), length);
  // In a tile a token sees half of it, and reads and moves the state.
  double retention = 2 * d * static_cast<double>(kRetentionTile) + 4 * d * size;
  double matrices = mlp + (windows ? 8 * d * d : 2 * d * (5 * d + heads));
  double shared = 2 * d * 2 * static_cast<double>(cross_shape_.kv_dim());
  double lower = self_layers * (matrices + (windows ? 4 * d * mean_window(window, length) : retention)) + shared;
  double lower_at_end = self_layers * (matrices + (windows ? 4 * d * window : retention)) + shared;
  double head = 2 * static_cast<double>(c.vocab_size) * d, cross = mlp + 4 * d * q;
  Costs costs;
  costs.flops_per_training_token = 3 * (lower + cross_layers * (cross + 4 * q * length / 2) + head);
  costs.flops_per_generated_token = lower_at_end + cross_layers * (cross + 4 * q * length) + head;
  costs.flops_per_prompt_token = lower;
  auto narrow = static_cast<double>(dtype_bytes(precision.activation));
  auto wide = static_cast<double>(dtype_bytes(precision.residual));
  costs.cache_bytes_per_token = 2 * static_cast<double>(cross_shape_.kv_dim()) * narrow;
  costs.cache_bytes_with_encoder = costs.cache_bytes_per_token;
  costs.cache_bytes_at_rest = costs.cache_bytes_per_token;
  double state = std::ceil(size * size / static_cast<double>(kPageTokens));  // a token's share of its tile's state
  costs.cache_bytes_constant =
      self_layers * (windows ? (static_cast<double>(c.window) - 1) * 2 * d * narrow
                             : static_cast<double>(kPageTokens) * (2 * d * narrow + heads * (1 + state) * wide));
  return costs;
}

}  // namespace tandem
