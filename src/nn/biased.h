// Layers with biases and LayerNorms, as GPT-NeoX (Black et al. 2022) and RoBERTa (Liu et al. 2019) have them.
#pragma once

#include <string>

#include "nn/layers.h"
#include "nn/linear.h"
#include "nn/norm.h"

namespace tandem::nn {

// Self-attention with biases: the projections and what is between them. Positions turn the first features of each head,
// as many as the pass's table has; without a table nothing turns.
class BiasedAttention {
 public:
  BiasedAttention(ParameterStore& store, const std::string& prefix, const LayerShape& shape);
  // residual + attention(normed). Caches as in SelfAttention.
  Var add_to(Tape& tape, Var residual, Var normed, const Pass& pass, const CacheColumns* cache) const;

 private:
  LayerShape shape_;
  Linear qkv_;  // rows of queries, then keys, then values
  Linear out_;
};

// GPT-NeoX: x + attention(norm1(x)) + mlp(norm2(x)).
class ParallelLayer {
 public:
  ParallelLayer(ParameterStore& store, const std::string& prefix, const LayerShape& shape);
  Var forward(Tape& tape, Var x, const Pass& pass, const CacheColumns* cache) const;

 private:
  LayerShape shape_;
  Norm norm1_;
  BiasedAttention attention_;
  Norm norm2_;
  Linear up_;
  Linear down_;
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
  Norm norm1_;
  Linear up_;
  Linear down_;
  Norm norm2_;
};

}  // namespace tandem::nn
