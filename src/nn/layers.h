// Building blocks that architectures share.
#pragma once

#include <span>
#include <string>

#include "nn/linear.h"
#include "nn/parameters.h"
#include "ops/gelu.h"
#include "ops/span_attention.h"

namespace tandem::nn {

// Sizes and conventions of a pre-norm transformer layer.
struct LayerShape {
  int64_t dim = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t mlp_dim = 0;
  double norm_eps = 0;
  double attention_scale = 0;
  ops::GeluKind gelu = ops::GeluKind::tanh;
  bool swiglu = false;      // the MLP's hidden values are those of SwiGLU instead
  bool biases = false;      // of the matrices of attention and MLP
  bool qkv_biases = false;  // of self-attention's first matrix

  int64_t q_dim() const { return heads * head_dim; }
  int64_t kv_dim() const { return kv_heads * head_dim; }
};

// What all layers of one pass share. Everything must outlive the backward pass.
struct Pass {
  std::span<const int32_t> positions;  // [T]
  const ops::RopeTable* rope = nullptr;
  const SpanPlan* plan = nullptr;
};

// Where a layer's keys and values are kept: columns of a cache's pages, and what the pass does with them.
struct CachePass {
  std::span<const int32_t> slots;  // [T] rows of the columns for the new tokens; negative: the token is not kept
  // Rows that are copied side by side for attention: those of the columns, before the new tokens go to their places,
  // and those of new tokens (kernels::fresh_row). Empty: attention reads the columns in place.
  std::span<const int32_t> gather;
};
struct CacheColumns {
  Tensor k;  // [rows, Hkv, D]; undefined: nothing is kept
  Tensor v;
  const CachePass* pass = nullptr;
};

// Puts the new tokens' keys and values into their places; returns what attention reads: all rows of the columns, or
// those that the pass gathers.
ops::KeyValueHeads extend_cache(Tape& tape, const CacheColumns& cache, const ops::KeyValueHeads& fresh);

// Keys and values of a cache, in place, as a source of an attention that needs no gradient.
ops::KeyValueHeads cached_heads(Tape& tape, const Tensor& k, const Tensor& v);

// One column of a cache: the new tokens' rows go to their places; returns what the pass reads, as extend_cache() does.
Tensor extend_column(Tape& tape, const Tensor& column, const CachePass& pass, const Tensor& fresh);

// Two-layer perceptron on the residual stream: x + down(f(up(norm(x)))) with f GELU or SwiGLU.
class Mlp {
 public:
  // `norm`: name of the norm before it, by its place in the layer.
  Mlp(ParameterStore& store, const std::string& prefix, const LayerShape& shape, const std::string& norm = "norm2");
  Var forward(Tape& tape, Var x) const;

 private:
  LayerShape shape_;
  Parameter& norm_;  // [dim]
  Linear up_;        // [mlp_dim, dim]; SwiGLU: [2 * mlp_dim, dim], rows of what is gated by itself, then the others
  Linear down_;      // [dim, mlp_dim]
};

// x + attention(norm(x)). What a token sees is the plan's business.
class SelfAttention {
 public:
  SelfAttention(ParameterStore& store, const std::string& prefix, const LayerShape& shape);

  // x [T, dim]. Without a cache the plan's source 0 is the T tokens themselves; with one it is what extend_cache()
  // returns.
  Var forward(Tape& tape, Var x, const Pass& pass, const CacheColumns* cache) const {
    return tape.section(Recompute::attention, [=, this](Tape& t) { return attend(t, x, pass, cache); });
  }

 private:
  Var attend(Tape& tape, Var x, const Pass& pass, const CacheColumns* cache) const;

  LayerShape shape_;
  Parameter& norm_;  // [dim]
  Linear qkv_;       // [q_dim + 2 * kv_dim, dim]: rows of queries, then keys, then values
  Linear out_;       // [dim, q_dim]
};

// Self-attention, then the MLP: the layer of a decoder-only model and of encoders.
class SelfAttentionLayer {
 public:
  SelfAttentionLayer(ParameterStore& store, const std::string& prefix, const LayerShape& shape)
      : attention_(store, prefix, shape), mlp_(store, prefix, shape) {}

  Var forward(Tape& tape, Var x, const Pass& pass, const CacheColumns* cache) const {
    return tape.section(Recompute::layers,
                        [=, this](Tape& t) { return mlp_.forward(t, attention_.forward(t, x, pass, cache)); });
  }

 private:
  SelfAttention attention_;
  Mlp mlp_;
};

// Cosines and sines for `positions` positions, kept for the life of a model.
class Rotary {
 public:
  void build(int64_t positions, int64_t head_dim, double base, ops::RopePairs pairs, DType dtype,
             kernels::RopeFrequencies frequencies = kernels::RopeFrequencies::half_open,
             const kernels::RopeScaling& scaling = {});
  const ops::RopeTable& table() const { return table_; }

 private:
  Storage cos_;
  Storage sin_;
  ops::RopeTable table_;
};

// rows * length queries that each see themselves and what stands before them in their row.
void plan_causal(SpanPlan& plan, int64_t rows, int64_t length);

}  // namespace tandem::nn
