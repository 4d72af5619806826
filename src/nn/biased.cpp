#include "nn/biased.h"

#include "ops/bias.h"
#include "ops/gather_rows.h"
#include "ops/layernorm.h"
#include "ops/linear.h"

namespace tandem::nn {

BiasedLinear::BiasedLinear(ParameterStore& store, const std::string& name, int64_t out, int64_t in)
    : weight_(store.add(name + ".weight", {out, in}, MupGroup::matrix, Initial::xavier_uniform)),
      bias_(store.add(name + ".bias", {out}, MupGroup::vector, Initial::zeros)) {}

Var BiasedLinear::forward(Tape& tape, Var x, bool shared_grad) const {
  return ops::add_bias(tape, ops::linear(tape, x, weight_.weight(), shared_grad), bias_.weight());
}

Var BiasedLinear::add_to(Tape& tape, Var residual, Var x) const {
  return ops::add_bias(tape, ops::linear_residual(tape, residual, x, weight_.weight()), bias_.weight());
}

LayerNorm::LayerNorm(ParameterStore& store, const std::string& name, int64_t dim, double eps)
    : weight_(store.add(name + ".weight", {dim}, MupGroup::vector, Initial::ones)),
      bias_(store.add(name + ".bias", {dim}, MupGroup::vector, Initial::zeros)),
      eps_(eps) {}

Var LayerNorm::forward(Tape& tape, Var x) const {
  return ops::layernorm(tape, x, weight_.weight(), bias_.weight(), eps_);
}

BiasedAttention::BiasedAttention(ParameterStore& store, const std::string& prefix, const LayerShape& shape)
    : shape_(shape),
      qkv_(store, prefix + ".attention.qkv", shape.q_dim() + 2 * shape.kv_dim(), shape.dim),
      out_(store, prefix + ".attention.out", shape.dim, shape.q_dim()) {}

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
      norm1_(store, prefix + ".norm1", shape.dim, shape.norm_eps),
      attention_(store, prefix, shape),
      norm2_(store, prefix + ".norm2", shape.dim, shape.norm_eps),
      up_(store, prefix + ".mlp.up", shape.mlp_dim, shape.dim),
      down_(store, prefix + ".mlp.down", shape.dim, shape.mlp_dim) {}

Var ParallelLayer::forward(Tape& tape, Var x, const Pass& pass, const CacheColumns* cache) const {
  Var attended = attention_.add_to(tape, x, norm1_.forward(tape, x), pass, cache);
  Var hidden = ops::gelu(tape, up_.forward(tape, norm2_.forward(tape, x)), shape_.gelu);
  return down_.add_to(tape, attended, hidden);
}

PostNormLayer::PostNormLayer(ParameterStore& store, const std::string& prefix, const LayerShape& shape)
    : shape_(shape),
      attention_(store, prefix, shape),
      norm1_(store, prefix + ".norm1", shape.dim, shape.norm_eps),
      up_(store, prefix + ".mlp.up", shape.mlp_dim, shape.dim),
      down_(store, prefix + ".mlp.down", shape.dim, shape.mlp_dim),
      norm2_(store, prefix + ".norm2", shape.dim, shape.norm_eps) {}

Var PostNormLayer::forward(Tape& tape, Var x, const Pass& pass) const {
  Var attended = attention_.add_to(tape, ops::to_residual(tape, x), x, pass, nullptr);
  Var middle = norm1_.forward(tape, attended);
  Var hidden = ops::gelu(tape, up_.forward(tape, middle), shape_.gelu);
  return norm2_.forward(tape, down_.add_to(tape, ops::to_residual(tape, middle), hidden));
}

}  // namespace tandem::nn
