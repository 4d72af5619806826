#include "arch/block_transformer_tokens.h"

#include <cmath>

#include "ops/embedding.h"
#include "ops/gather_rows.h"
#include "ops/reshape.h"

namespace tandem {
namespace {

constexpr int64_t kBuckets = 32;  // T5's, for distances up to 128

nn::LayerShape token_shape(const ModelConfig& config) {
  BlockSizes s = block_sizes(config);
  nn::LayerShape shape;
  shape.dim = s.token_dim;
  shape.heads = shape.kv_heads = s.token_heads;
  shape.head_dim = s.token_head_dim;
  shape.mlp_dim = s.token_mlp_dim;
  shape.gelu = config.activation;
  if (config.block.token_decoder == TokenDecoder::cross_attention) {
    shape.norm_eps = config.norm_eps;
    shape.attention_scale = 1;
  } else {
    shape.norm_eps = config.output_norm_eps;
    shape.attention_scale = config.attention_scale(s.token_head_dim);
  }
  return shape;
}

}  // namespace

BlockTokenDecoder::BlockTokenDecoder(ParameterStore& store, const ModelConfig& config)
    : sizes_(block_sizes(config)),
      kind_(config.block.token_decoder),
      dim_(static_cast<double>(config.dim)),
      expansion_(store, "expansion", sizes_.expansion * sizes_.token_dim, config.dim, true),
      embedding_(store.add("token_decoder.embedding.weight", {config.vocab_size, sizes_.token_dim}, MupGroup::embedding,
                           Initial::xavier_uniform)) {
  nn::LayerShape shape = token_shape(config);
  for (int64_t i = 0; i < config.n_decoder_layers; ++i) {
    std::string prefix = fmt::format("token_decoder.layers.{}", i);
    if (attends_across()) {
      t5_.emplace_back(store, prefix, shape, sizes_.length);
    } else {
      neox_.emplace_back(store, prefix, shape);
    }
  }
  if (attends_across()) {
    position_bias_ =
        &store.add("token_decoder.position_bias", {kBuckets, sizes_.token_heads}, MupGroup::vector, Initial::zeros);
    norm_.emplace(store, "token_decoder.norm", sizes_.token_dim, nn::NormKind::rmsnorm, config.norm_eps);
    return;
  }
  norm_.emplace(store, "token_decoder.norm", sizes_.token_dim, nn::NormKind::layernorm, config.output_norm_eps);
  output_ =
      &store.add("output.weight", {config.vocab_size, sizes_.token_dim}, MupGroup::embedding, Initial::xavier_uniform);
}

void BlockTokenDecoder::build_tables(const ModelConfig& config, const Precision& precision) {
  turns_ = !attends_across() && sizes_.token_rotary_features > 0;
  if (!turns_) return;
  rotary_.build(sizes_.token_rows(), sizes_.token_rotary_features, config.rope_base, config.rope_pairs,
                precision.residual);
}

Var BlockTokenDecoder::expand(Tape& tape, Var contexts) const {
  Var wide = expansion_.forward(tape, contexts, /*shared_grad=*/true);
  return ops::reshape(tape, wide, contexts->value.rows() * sizes_.expansion, sizes_.token_dim);
}

void BlockTokenDecoder::project(Tape& tape, Var expanded, std::vector<ops::KeyValueHeads>& memory) const {
  memory.clear();
  for (const nn::T5Layer& layer : t5_) memory.push_back(layer.project(tape, expanded));
}

Var BlockTokenDecoder::inputs(Tape& tape, const Pass& pass) const {
  const TokenRows& rows = pass.rows;
  if (attends_across()) return ops::embedding(tape, embedding_.table(), rows.ids);
  // A pass may have vectors only, the prefix of blocks of which no token is known, or tokens only.
  if (rows.ids.empty()) return ops::gather_rows(tape, {{pass.vectors, rows.expanded}});
  if (!pass.vectors) return ops::embedding(tape, embedding_.table(), rows.ids);
  return ops::gather_rows(
      tape, {{ops::embedding(tape, embedding_.table(), rows.ids), rows.embedded}, {pass.vectors, rows.expanded}});
}

Var BlockTokenDecoder::forward(Tape& tape, const Pass& pass) const {
  Var x = inputs(tape, pass);
  static const std::string embed = "hidden.dec_embed";  // too long to be made in every pass without allocating
  pass.seen(embed, x);
  nn::Pass own{pass.rows.positions, turns_ ? &rotary_.table() : nullptr, &pass.own};
  nn::T5Pass t5{pass.rows.positions, position_bias_, &pass.own, &pass.across};
  for (size_t i = 0; i < static_cast<size_t>(layers()); ++i) {
    nn::CacheColumns columns = pass.cache ? pass.cache(i) : nn::CacheColumns();
    const nn::CacheColumns* cache = pass.cache ? &columns : nullptr;
    x = attends_across() ? t5_[i].forward(tape, x, pass.memory[i], t5, cache) : neox_[i].forward(tape, x, own, cache);
    pass.seen(fmt::format("hidden.dec.{}", i), x);
  }
  x = norm_->forward(tape, x);
  pass.seen("hidden.out_norm", x);
  return x;
}

double BlockTokenDecoder::flops_per_block() const {
  auto rows = static_cast<double>(sizes_.token_rows()), d = static_cast<double>(sizes_.token_dim);
  auto vectors = static_cast<double>(sizes_.expansion);
  double mlp = 4 * d * static_cast<double>(sizes_.token_mlp_dim);
  double layer = rows * (8 * d * d + mlp + 4 * d * (rows + 1) / 2);
  // Queries and outputs of the second attention for every row, keys and values for every vector.
  if (attends_across()) layer += rows * (4 * d * d + 4 * d * vectors) + vectors * 4 * d * d;
  return 2 * dim_ * vectors * d + static_cast<double>(layers()) * layer;
}

}  // namespace tandem
