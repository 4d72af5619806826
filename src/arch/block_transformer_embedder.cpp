#include "arch/block_transformer_embedder.h"

#include <cmath>

#include "ops/embedding.h"
#include "ops/gather_rows.h"
#include "ops/reshape.h"

namespace tandem {
namespace {

nn::LayerShape encoder_shape(const ModelConfig& config) {
  BlockSizes s = block_sizes(config);
  nn::LayerShape shape;
  shape.dim = s.embedder_dim;
  shape.heads = shape.kv_heads = s.embedder_heads;
  shape.head_dim = s.embedder_dim / s.embedder_heads;
  shape.mlp_dim = s.embedder_mlp_dim;
  shape.norm_eps = config.output_norm_eps;
  shape.attention_scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  shape.gelu = config.activation;
  return shape;
}

// Vectors of a block that the projection takes.
int64_t outputs_of(const ModelConfig& config) {
  bool cls = config.block.embedder == BlockEmbedder::cls;
  return cls ? config.block.cls_tokens : config.block.length;
}

}  // namespace

BlockTokensEmbedder::Encoder::Encoder(ParameterStore& store, const ModelConfig& config)
    : positions(store.add("embedder.positions.weight",
                          {block_sizes(config).embedder_positions, block_sizes(config).embedder_dim},
                          MupGroup::embedding, Initial::xavier_uniform)),
      type(store.add("embedder.type.weight", {1, block_sizes(config).embedder_dim}, MupGroup::embedding,
                     Initial::xavier_uniform)),
      norm(store, "embedder.norm", block_sizes(config).embedder_dim, nn::NormKind::layernorm, config.output_norm_eps),
      projection(store, "embedder.projection", config.dim, outputs_of(config) * block_sizes(config).embedder_dim,
                 true) {
  for (int64_t i = 0; i < config.block.embedder_layers; ++i) {
    layers.emplace_back(store, fmt::format("embedder.layers.{}", i), encoder_shape(config));
  }
}

BlockTokensEmbedder::BlockTokensEmbedder(ParameterStore& store, const ModelConfig& config)
    : sizes_(block_sizes(config)),
      dim_(config.dim),
      cls_(config.block.embedder == BlockEmbedder::cls),
      pad_id_(config.block.embedder_pad_id),
      cls_id_(static_cast<int32_t>(std::max<int64_t>(config.bos_id, 0))),
      table_(store.add("embedder.embedding.weight", {config.vocab_size, sizes_.embedder_dim}, MupGroup::embedding,
                       Initial::xavier_uniform)) {
  if (config.block.embedder != BlockEmbedder::lookup) encoder_.emplace(store, config);
}

Var BlockTokensEmbedder::forward(Tape& tape, std::span<const int32_t> slots, std::span<const TokenRange> filled,
                                 QueryOrder order) {
  if (encoder_) return encode(tape, slots, filled, order);
  Var each = ops::embedding(tape, table_.table(), slots);
  return ops::reshape(tape, each, static_cast<int64_t>(filled.size()), sizes_.length * sizes_.embedder_dim);
}

// Sums over keys have an order that follows from where the keys stand in a tile: a block's vector must not depend on
// how many blocks stand before it in a pass. Rows that nobody reads fill the gap.
void BlockTokensEmbedder::align_rows() {
  constexpr int64_t kVector = 16, kTile = 64;
  const int64_t align = sizes_.embedder_rows() <= kVector ? kVector : kTile;
  auto begin = static_cast<int64_t>(ids_.size()), end = (begin + align - 1) / align * align;
  if (begin == end) return;
  ids_.resize(static_cast<size_t>(end), cls_id_);
  positions_.resize(static_cast<size_t>(end), 0);
  plan_.add_run(begin, end);
}

void BlockTokensEmbedder::lay_out(std::span<const int32_t> slots, std::span<const TokenRange> filled,
                                  QueryOrder order) {
  for (auto* list : {&ids_, &positions_, &outputs_}) list->clear();
  plan_.clear(1);
  plan_.order = order;
  int64_t front = sizes_.cls_tokens, outputs = cls_ ? front : sizes_.length;
  for (size_t block = 0; block < filled.size(); ++block) {
    if (order == QueryOrder::by_query) align_rows();
    auto first = static_cast<int64_t>(ids_.size());
    ids_.insert(ids_.end(), static_cast<size_t>(front), cls_id_);
    auto tokens = slots.subspan(block * static_cast<size_t>(sizes_.length), static_cast<size_t>(sizes_.length));
    ids_.insert(ids_.end(), tokens.begin(), tokens.end());
    // RoBERTa counts on from the row of its padding, and not where padding stands.
    int64_t counted = pad_id_;
    for (auto i = static_cast<size_t>(first); i < ids_.size(); ++i) {
      bool padding = pad_id_ >= 0 && ids_[i] == pad_id_;
      positions_.push_back(static_cast<int32_t>(padding ? pad_id_ : ++counted));
    }
    for (int64_t i = 0; i < outputs; ++i) outputs_.push_back(static_cast<int32_t>(first + i));
    // Everything sees the CLS tokens and the real ones.
    plan_.add_run(first, first + front + sizes_.length);
    TokenRange seen{first + front + filled[block].begin, first + front + filled[block].end};
    if (filled[block].begin == 0) {
      plan_.add_span({.source = 0, .begin = first, .end = seen.end});
    } else {
      plan_.add_span({.source = 0, .begin = first, .end = first + front});
      plan_.add_span({.source = 0, .begin = seen.begin, .end = seen.end});
    }
  }
  types_.assign(ids_.size(), 0);
}

Var BlockTokensEmbedder::encode(Tape& tape, std::span<const int32_t> slots, std::span<const TokenRange> filled,
                                QueryOrder order) {
  lay_out(slots, filled, order);
  std::span<int32_t> same(tape.arena().tensor(DType::i32, {static_cast<int64_t>(ids_.size())}).as<int32_t>(),
                          ids_.size());
  for (size_t i = 0; i < same.size(); ++i) same[i] = static_cast<int32_t>(i);
  Var sum = ops::gather_rows(tape, {{ops::embedding(tape, table_.table(), ids_), same},
                                    {ops::embedding(tape, encoder_->type.table(), types_), same},
                                    {ops::embedding(tape, encoder_->positions.table(), positions_), same}});
  Var x = encoder_->norm.forward(tape, sum);
  nn::Pass pass{positions_, nullptr, &plan_};
  for (const nn::PostNormLayer& layer : encoder_->layers) x = layer.forward(tape, x, pass);
  if (outputs_.size() < ids_.size()) x = ops::gather_activations(tape, {x, outputs_});
  auto blocks = static_cast<int64_t>(filled.size());
  x = ops::reshape(tape, x, blocks, x->value.elements() / blocks);
  return ops::to_residual(tape, encoder_->projection.forward(tape, x));
}

double BlockTokensEmbedder::flops_per_block() const {
  if (!encoder_) return 0;
  auto rows = static_cast<double>(sizes_.embedder_rows()), d = static_cast<double>(sizes_.embedder_dim);
  double layer = 8 * d * d + 4 * d * static_cast<double>(sizes_.embedder_mlp_dim) + 4 * d * rows;
  double projection = 2 * d * static_cast<double>((cls_ ? sizes_.cls_tokens : sizes_.length) * dim_);
  return rows * static_cast<double>(encoder_->layers.size()) * layer + projection;
}

}  // namespace tandem
