// A decoder layer of T5 (Raffel et al. 2020): RMSNorms, no biases, scores without a scale, relative position biases
// that all layers share, ReLU.
#pragma once

#include <string>

#include "nn/layers.h"
#include "ops/position_bias.h"

namespace tandem::nn {

// What all layers of a pass share. Everything must outlive the backward pass.
struct T5Pass {
  std::span<const int32_t> positions;        // [T]
  const Parameter* position_bias = nullptr;  // [buckets, heads]
  const SpanPlan* own = nullptr;             // what a token sees of its sequence
  const SpanPlan* memory = nullptr;          // and of what it attends across to
};

class T5Layer {
 public:
  // `positions`: of a sequence, at most.
  T5Layer(ParameterStore& store, const std::string& prefix, const LayerShape& shape, int64_t positions);

  // Keys and values of memory [Tm, dim], an activation with a shared gradient.
  ops::KeyValueHeads project(Tape& tape, Var memory) const;
  // x [T, dim] on the residual stream. With a cache, source 0 of the own plan is what extend_cache() returns; its heads
  // have own_head_size() features.
  Var forward(Tape& tape, Var x, const ops::KeyValueHeads& memory, const T5Pass& pass, const CacheColumns* cache) const;
  int64_t own_head_size() const { return bias_.wide(); }

 private:
  Var attend_self(Tape& tape, Var x, const T5Pass& pass, const CacheColumns* cache) const;
  Var attend_across(Tape& tape, Var x, const ops::KeyValueHeads& memory, const T5Pass& pass) const;

  LayerShape shape_;
  ops::PositionBias bias_;
  Parameter& norm1_;       // [dim]
  Parameter& qkv_;         // [3 * q_dim, dim]: rows of queries, then keys, then values
  Parameter& out_;         // [dim, q_dim]
  Parameter& norm2_;       // [dim]
  Parameter& across_q_;    // [q_dim, dim]
  Parameter& across_kv_;   // [2 * q_dim, dim]: rows of keys, then values
  Parameter& across_out_;  // [dim, q_dim]
  Parameter& norm3_;       // [dim]
  Parameter& up_;          // [mlp_dim, dim]
  Parameter& down_;        // [dim, mlp_dim]
};

}  // namespace tandem::nn
