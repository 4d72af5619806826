#include "nn/t5.h"

#include "ops/linear.h"
#include "ops/relu.h"
#include "ops/rmsnorm.h"

namespace tandem::nn {
namespace {

Parameter& matrix(ParameterStore& store, const std::string& name, int64_t out, int64_t in) {
  return store.add(name + ".weight", {out, in}, MupGroup::matrix, Initial::xavier_uniform);
}

Parameter& norm(ParameterStore& store, const std::string& name, int64_t dim) {
  return store.add(name + ".weight", {dim}, MupGroup::vector, Initial::ones);
}

}  // namespace

T5Layer::T5Layer(ParameterStore& store, const std::string& prefix, const LayerShape& shape, int64_t positions)
    : shape_(shape),
      bias_{.heads = shape.heads, .head_dim = shape.head_dim, .positions = positions},
      norm1_(norm(store, prefix + ".norm1", shape.dim)),
      qkv_(matrix(store, prefix + ".attention.qkv", 3 * shape.q_dim(), shape.dim)),
      out_(matrix(store, prefix + ".attention.out", shape.dim, shape.q_dim())),
      norm2_(norm(store, prefix + ".norm2", shape.dim)),
      across_q_(matrix(store, prefix + ".cross_attention.q", shape.q_dim(), shape.dim)),
      across_kv_(matrix(store, prefix + ".cross_attention.kv", 2 * shape.q_dim(), shape.dim)),
      across_out_(matrix(store, prefix + ".cross_attention.out", shape.dim, shape.q_dim())),
      norm3_(norm(store, prefix + ".norm3", shape.dim)),
      up_(matrix(store, prefix + ".mlp.up", shape.mlp_dim, shape.dim)),
      down_(matrix(store, prefix + ".mlp.down", shape.dim, shape.mlp_dim)) {}

ops::KeyValueHeads T5Layer::project(Tape& tape, Var memory) const {
  Var kv = ops::linear(tape, memory, across_kv_.weight());
  ops::HeadColumns k{0, shape_.heads, shape_.head_dim};
  return {{kv, k}, {kv, {k.end(), shape_.heads, shape_.head_dim}}};
}

Var T5Layer::attend_self(Tape& tape, Var x, const T5Pass& pass, const CacheColumns* cache) const {
  Var normed = ops::rmsnorm(tape, x, norm1_.weight(), shape_.norm_eps);
  Var qkv = ops::widen_heads(tape, ops::linear(tape, normed, qkv_.weight()), bias_, pass.positions,
                             pass.position_bias->table());
  ops::HeadColumns q{0, shape_.heads, bias_.wide()};
  ops::HeadColumns k{q.end(), shape_.heads, bias_.wide()};
  ops::HeadColumns v{k.end(), shape_.heads, bias_.wide()};
  ops::KeyValueHeads source{{qkv, k}, {qkv, v}};
  if (cache) source = extend_cache(tape, *cache, source);
  Var attended = ops::span_attention(tape, {qkv, q}, {&source, 1}, *pass.own, shape_.attention_scale).o;
  return ops::linear_residual(tape, x, ops::narrow_heads(tape, attended, bias_), out_.weight());
}

Var T5Layer::attend_across(Tape& tape, Var x, const ops::KeyValueHeads& memory, const T5Pass& pass) const {
  Var normed = ops::rmsnorm(tape, x, norm2_.weight(), shape_.norm_eps);
  ops::Heads q{ops::linear(tape, normed, across_q_.weight()), {0, shape_.heads, shape_.head_dim}};
  Var attended = ops::span_attention(tape, q, {&memory, 1}, *pass.memory, shape_.attention_scale).o;
  return ops::linear_residual(tape, x, attended, across_out_.weight());
}

Var T5Layer::forward(Tape& tape, Var x, const ops::KeyValueHeads& memory, const T5Pass& pass,
                     const CacheColumns* cache) const {
  return tape.section(Recompute::layers, [=, this](Tape& t) {
    Var attended = t.section(Recompute::attention, [=, this](Tape& inner) {
      return attend_across(inner, attend_self(inner, x, pass, cache), memory, pass);
    });
    Var normed = ops::rmsnorm(t, attended, norm3_.weight(), shape_.norm_eps);
    return ops::linear_residual(t, attended, ops::relu(t, ops::linear(t, normed, up_.weight())), down_.weight());
  });
}

}  // namespace tandem::nn
