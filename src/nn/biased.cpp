#include "nn/biased.h"

#include "ops/gather_rows.h"

namespace tandem::nn {

BiasedAttention::BiasedAttention(ParameterStore& store, const std::string& prefix, const LayerShape& shape)
    : shape_(shape),
      qkv_(store, prefix + ".attention.qkv", shape.q_dim() + 2 * shape.kv_dim(), shape.dim, true),
      out_(store, prefix + ".attention.out", shape.dim, shape.q_dim(), true) {}

Var BiasedAttention::add_to(Tape& tape, Var residual, Var normed, const Pass& pass, const CacheColumns* cache) const {
  Var qkv = qkv_.forward(tape, normed);
  ops::HeadColumns q{0, shape_.heads, shape_.head_dim};
  ops::HeadColumns k{q.end(), shape_.kv_heads, shape_.head_dim};
  ops::HeadColumns v{k.end(), shape_.kv_heads, shape_.head_dim};
  if (pass.rope) {
    ops::rope_in_place(tape, qkv, {0, shape_.heads + shape_.kv_heads, shape_.head_dim}, pass.positions, *pass.rope);
  }
  ops::KeyValueHeads source{{qkv, k}, {qkv, v}};
  if (cache) source = extend_cache(tape, *cache, source);
  ops::AttentionOutput attended = ops::span_attention(tape, {qkv, q}, {&source, 1}, *pass.plan, shape_.attention_scale);
  return out_.add_to(tape, residual, attended.o);
}

ParallelLayer::ParallelLayer(ParameterStore& store, const std::string& prefix, const LayerShape& shape)
    : shape_(shape),
      norm1_(store, prefix + ".norm1", shape.dim, NormKind::layernorm, shape.norm_eps),
      attention_(store, prefix, shape),
      norm2_(store, prefix + ".norm2", shape.dim, NormKind::layernorm, shape.norm_eps),
      up_(store, prefix + ".mlp.up", shape.mlp_dim, shape.dim, true),
      down_(store, prefix + ".mlp.down", shape.dim, shape.mlp_dim, true) {}

Var ParallelLayer::forward(Tape& tape, Var x, const Pass& pass, const CacheColumns* cache) const {
  return tape.section(Recompute::layers, [=, this](Tape& t) {
    Var attended = t.section(Recompute::attention, [=, this](Tape& inner) {
      return attention_.add_to(inner, x, norm1_.forward(inner, x), pass, cache);
    });
    Var hidden = ops::gelu(t, up_.forward(t, norm2_.forward(t, x)), shape_.gelu);
    return down_.add_to(t, attended, hidden);
  });
}

PostNormLayer::PostNormLayer(ParameterStore& store, const std::string& prefix, const LayerShape& shape)
    : shape_(shape),
      attention_(store, prefix, shape),
      norm1_(store, prefix + ".norm1", shape.dim, NormKind::layernorm, shape.norm_eps),
      up_(store, prefix + ".mlp.up", shape.mlp_dim, shape.dim, true),
      down_(store, prefix + ".mlp.down", shape.dim, shape.mlp_dim, true),
      norm2_(store, prefix + ".norm2", shape.dim, NormKind::layernorm, shape.norm_eps) {}

Var PostNormLayer::forward(Tape& tape, Var x, const Pass& pass) const {
  return tape.section(Recompute::layers, [=, this](Tape& t) {
    Var attended = t.section(Recompute::attention, [=, this](Tape& inner) {
      return attention_.add_to(inner, ops::to_residual(inner, x), x, pass, nullptr);
    });
    Var middle = norm1_.forward(t, attended);
    Var hidden = ops::gelu(t, up_.forward(t, middle), shape_.gelu);
    return norm2_.forward(t, down_.add_to(t, ops::to_residual(t, middle), hidden));
  });
}

}  // namespace tandem::nn
