// Sizes and conventions of a model: the "model" part of a run config and of a model folder's config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/boundaries.h"
#include "base/fields.h"
#include "kernels/rope.h"
#include "ops/gelu.h"

namespace tandem {

enum class Arch { decoder, double_decoder };

// How the double decoder's layers project the encoder's output to keys and values.
enum class MemoryKv {
  per_layer_shared,  // one projection per layer, for its own states and the encoder's output (the paper's default)
  per_layer,         // two projections per layer
  one_for_all,  // one for all layers, beside each layer's projection of its own states: a cache of one layer's size
};

struct ModelConfig {
  Arch arch = Arch::double_decoder;
  int64_t vocab_size = 32768;
  int64_t dim = 64;
  int64_t n_heads = 1;
  int64_t n_kv_heads = 0;        // 0: as many as n_heads
  int64_t head_dim = 0;          // 0: dim / n_heads
  int64_t n_encoder_layers = 8;  // a decoder-only model has n_encoder_layers + n_decoder_layers layers
  int64_t n_decoder_layers = 4;
  int64_t mlp_dim = 0;  // 0: 4 * dim
  int64_t max_seq_len = 2048;
  double rope_base = 10000;
  kernels::RopePairs rope_pairs = kernels::RopePairs::adjacent;
  kernels::GeluKind activation = kernels::GeluKind::tanh;
  double norm_eps = 1.1920928955078125e-07;  // of the RMSNorms inside layers: float32's machine epsilon
  double output_norm_eps = 1e-5;             // of the LayerNorms after the encoder and before the output
  MemoryKv memory_kv = MemoryKv::per_layer_shared;
  bool logit_biases = false;
  BoundaryStrategy boundaries;  // where blocks open in training rows
  int64_t max_blocks = 8;
  std::vector<std::string> prompt_lengths;  // what boundaries = prompt_style draws from: "LENGTH" or "LENGTH:COUNT"
  int64_t mup_base_dim = 0;                 // 0: no muP
  int64_t mup_base_head_dim = 0;            // 0: attention scores are scaled by 1 / sqrt(head_dim)

  int64_t kv_heads() const { return n_kv_heads ? n_kv_heads : n_heads; }
  int64_t head_size() const { return head_dim ? head_dim : dim / n_heads; }
  int64_t mlp_size() const { return mlp_dim ? mlp_dim : 4 * dim; }
  int64_t layers() const { return n_encoder_layers + n_decoder_layers; }
  double attention_scale() const;     // muP: sqrt(base_head_dim) / head_dim
  double logit_multiplier() const;    // muP: sqrt(base_dim / dim)
  double matrix_rate_factor() const;  // muP: learning rate of matrices, base_dim / dim

  // InputError naming the field when sizes are not positive, don't divide or are absurd.
  void validate(const std::string& where) const;
};

void list_fields(FieldList& fields, ModelConfig& config);
std::string_view arch_name(Arch arch);

}  // namespace tandem
