// Layers with biases and LayerNorms, as GPT-NeoX (Black et al. 2022) and RoBERTa (Liu et al. 2019) have them.
#pragma once

#include <string>

#include "nn/layers.h"

namespace tandem::nn {

// y = x W^T + b with W stored [out, in].
class BiasedLinear {
 public:
  BiasedLinear(ParameterStore& store, const std::string& name, int64_t out, int64_t in);

  Var forward(Tape& tape, Var x, bool shared_grad = false) const;  // x [T, in] -> activation [T, out]
  Var add_to(Tape& tape, Var residual, Var x) const;               // residual + y, on the residual stream

 private:
  Parameter& weight_;
  Parameter& bias_;
};

class LayerNorm {
 public:
  LayerNorm(ParameterStore& store, const std::string& name, int64_t dim, double eps);
  Var forward(Tape& tape, Var x) const;  // x [T, dim] on the residual stream -> activation with several consumers

 private:
  Parameter& weight_;
  Parameter& bias_;
  double eps_;
};

// Self-attention with biases: the projections and what is between them. Positions turn the first features of each head,
// as many as the pass's table has; without a table nothing turns.
class BiasedAttention {
 public:
  BiasedAttention(ParameterStore& store, const std::string& prefix, const LayerShape& shape);
  // residual + attention(normed). Caches as in SelfAttention.
  Var add_to(Tape& tape, Var residual, Var normed, const Pass& pass, const CacheColumns* cache) const;

 private:
  LayerShape shape_;
  BiasedLinear qkv_;  // rows of queries, then keys, then values
  BiasedLinear out_;
};

// GPT-NeoX: x + attention(norm1(x)) + mlp(norm2(x)).
class ParallelLayer {
 public:
  ParallelLayer(ParameterStore& store, const std::string& prefix, const LayerShape& shape);
  Var forward(Tape& tape, Var x, const Pass& pass, const CacheColumns* cache) const;

 private:
  LayerShape shape_;
  LayerNorm norm1_;
  BiasedAttention attention_;
  LayerNorm norm2_;
  BiasedLinear up_;
  BiasedLinear down_;
};

// RoBERTa: x = norm1(x + attention(x)), then norm2(x + mlp(x)).
class PostNormLayer {
 public:
  PostNormLayer(ParameterStore& store, const std::string& prefix, const LayerShape& shape);
  // x: an activation that may have several consumers, as the result is.
  Var forward(Tape& tape, Var x, const Pass& pass) const;

 private:
  LayerShape shape_;
  BiasedAttention attention_;
  LayerNorm norm1_;
  BiasedLinear up_;
  BiasedLinear down_;
  LayerNorm norm2_;
};

}  // namespace tandem::nn
