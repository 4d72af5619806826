// What the architectures have in common: layer shapes from a config, positions, costs of a plain layer.
#pragma once

#include <vector>

#include "arch/config.h"
#include "nn/layers.h"

namespace tandem {

nn::LayerShape layer_shape(const ModelConfig& config);

// first, first + 1, ... into `positions`.
void consecutive_positions(std::vector<int32_t>& positions, int64_t first, size_t count);

// Matrix products are compiled for the sizes that they meet. Where these depend on what was drawn they are rounded up,
// to one of eight to sixteen sizes per doubling, so that most have been met before.
int64_t rounded_up(int64_t count);

// Forward costs of one (self-attention, MLP) layer for one token.
struct LayerCosts {
  double matrices = 0;           // FLOPs of q, k, v, output projection and MLP
  double kv_projection = 0;      // FLOPs of a key/value projection alone (part of `matrices`)
  double q_and_out = 0;          // FLOPs of the query and output projections (part of `matrices`)
  double attention_per_key = 0;  // FLOPs per key that the query sees
  double kv_values = 0;          // numbers cached per token
  double cache_bytes(const Precision& precision) const {
    return kv_values * static_cast<double>(dtype_bytes(precision.activation));
  }
};
LayerCosts layer_costs(const ModelConfig& config);

}  // namespace tandem
