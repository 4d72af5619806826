#include "arch/shared.h"

#include <numeric>

namespace tandem {

nn::LayerShape layer_shape(const ModelConfig& config) {
  nn::LayerShape shape;
  shape.dim = config.dim;
  shape.heads = config.n_heads;
  shape.kv_heads = config.kv_heads();
  shape.head_dim = config.head_size();
  shape.mlp_dim = config.mlp_size();
  shape.norm_eps = config.norm_eps;
  shape.attention_scale = config.attention_scale();
  shape.gelu = config.activation;
  shape.biases = config.biases;
  shape.qkv_biases = config.qkv_biases;
  shape.swiglu = config.mlp == MlpKind::swiglu;
  return shape;
}

void consecutive_positions(std::vector<int32_t>& positions, int64_t first, size_t count) {
  positions.resize(count);
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first));
}

int64_t rounded_up(int64_t count) {
  int64_t granule = 1;
  while (16 * granule <= count) granule *= 2;
  return (count + granule - 1) / granule * granule;
}

LayerCosts layer_costs(const ModelConfig& config) {
  nn::LayerShape s = layer_shape(config);
  auto d = static_cast<double>(s.dim), q = static_cast<double>(s.q_dim()), kv = static_cast<double>(s.kv_dim());
  LayerCosts costs;
  costs.kv_projection = 2 * d * 2 * kv;
  costs.q_and_out = 4 * d * q;
  costs.matrices = costs.q_and_out + costs.kv_projection + (s.swiglu ? 6 : 4) * d * static_cast<double>(s.mlp_dim);
  costs.attention_per_key = 4 * q;
  costs.kv_values = 2 * kv;
  return costs;
}

}  // namespace tandem
