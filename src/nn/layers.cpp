#include "nn/layers.h"

#include "kernels/copy_rows.h"
#include "ops/rmsnorm.h"
#include "ops/swiglu.h"

namespace tandem::nn {

Mlp::Mlp(ParameterStore& store, const std::string& prefix, const LayerShape& shape, const std::string& norm)
    : shape_(shape),
      norm_(store.add(prefix + "." + norm + ".weight", {shape.dim}, MupGroup::vector, Initial::ones)),
      up_(store, prefix + ".mlp.up", shape.swiglu ? 2 * shape.mlp_dim : shape.mlp_dim, shape.dim, shape.biases),
      down_(store, prefix + ".mlp.down", shape.dim, shape.mlp_dim, shape.biases) {}

Var Mlp::forward(Tape& tape, Var x) const {
  Var up = up_.forward(tape, ops::rmsnorm(tape, x, norm_.weight(), shape_.norm_eps));
  return down_.add_to(tape, x, shape_.swiglu ? ops::swiglu(tape, up) : ops::gelu(tape, up, shape_.gelu));
}

SelfAttention::SelfAttention(ParameterStore& store, const std::string& prefix, const LayerShape& shape)
    : shape_(shape),
      norm_(store.add(prefix + ".norm1.weight", {shape.dim}, MupGroup::vector, Initial::ones)),
      qkv_(store, prefix + ".attention.qkv", shape.q_dim() + 2 * shape.kv_dim(), shape.dim,
           shape.biases || shape.qkv_biases),
      out_(store, prefix + ".attention.out", shape.dim, shape.q_dim(), shape.biases) {}

Var SelfAttention::attend(Tape& tape, Var x, const Pass& pass, const CacheColumns* cache) const {
  Var qkv = qkv_.forward(tape, ops::rmsnorm(tape, x, norm_.weight(), shape_.norm_eps));
  ops::HeadColumns q{0, shape_.heads, shape_.head_dim};
  ops::HeadColumns k{q.end(), shape_.kv_heads, shape_.head_dim};
  ops::HeadColumns v{k.end(), shape_.kv_heads, shape_.head_dim};
  // Queries and keys stand side by side and turn by the same angles.
  ops::HeadColumns q_and_k{0, shape_.heads + shape_.kv_heads, shape_.head_dim};
  ops::rope_in_place(tape, qkv, q_and_k, pass.positions, *pass.rope);
  ops::KeyValueHeads source{{qkv, k}, {qkv, v}};
  if (cache) source = extend_cache(tape, *cache, source);
  ops::AttentionOutput attended = ops::span_attention(tape, {qkv, q}, {&source, 1}, *pass.plan, shape_.attention_scale);
  return out_.add_to(tape, x, attended.o);
}

void Rotary::build(int64_t positions, int64_t head_dim, double base, ops::RopePairs pairs, DType dtype,
                   kernels::RopeFrequencies frequencies, const kernels::RopeScaling& scaling) {
  cos_ = Storage(dtype, {positions, head_dim / 2});
  sin_ = Storage(dtype, {positions, head_dim / 2});
  kernels::rope_table(cos_.tensor(), sin_.tensor(), base, frequencies, scaling);
  table_ = {cos_.tensor(), sin_.tensor(), pairs};
}

Tensor extend_column(Tape& tape, const Tensor& column, const CachePass& pass, const Tensor& fresh) {
  Context& ctx = tape.context();
  const bool kept = column.defined();
  Tensor rows = kept ? column : fresh;
  if (!pass.gather.empty()) {
    Shape shape{static_cast<int64_t>(pass.gather.size()), fresh.shape[1], fresh.shape[2]};
    rows = tape.arena().tensor(fresh.dtype, shape);
    kernels::gather_rows(ctx, rows, kept ? column : fresh, fresh, pass.gather);
  }
  if (kept) kernels::scatter_rows(ctx, column, pass.slots, fresh);
  return rows;
}

ops::KeyValueHeads extend_cache(Tape& tape, const CacheColumns& cache, const ops::KeyValueHeads& fresh) {
  if (!cache.k.defined() && cache.pass->gather.empty()) return fresh;
  return cached_heads(tape, extend_column(tape, cache.k, *cache.pass, fresh.k.value()),
                      extend_column(tape, cache.v, *cache.pass, fresh.v.value()));
}

ops::KeyValueHeads cached_heads(Tape& tape, const Tensor& k, const Tensor& v) {
  ops::HeadColumns columns{0, k.shape[1], k.shape[2]};
  Shape flat{k.shape[0], k.row_size()};
  return {{tape.constant(k.view(flat)), columns}, {tape.constant(v.view(flat)), columns}};
}

void plan_causal(SpanPlan& plan, int64_t rows, int64_t length) {
  plan.clear(1);
  for (int64_t row = 0; row < rows; ++row) {
    plan.add_run(row * length, (row + 1) * length);
    plan.add_span({.source = 0, .begin = row * length, .end = (row + 1) * length, .shift = 0});
  }
}

}  // namespace tandem::nn
