// Sizes and conventions of a model: the "model" part of a run config and of a model folder's config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/block_config.h"
#include "arch/boundaries.h"
#include "base/fields.h"
#include "kernels/rope.h"
#include "nn/norm.h"
#include "ops/gelu.h"
#include "text/batch.h"

namespace tandem {

enum class Arch { decoder, double_decoder, encoder_decoder, yoco, block_transformer };

// How the double decoder's layers project the encoder's output to keys and values.
enum class MemoryKv {
  per_layer_shared,  // one projection per layer, for its own states and the encoder's output (the paper's default)
  per_layer,         // two projections per layer
  one_for_all,  // one for all layers, beside each layer's projection of its own states: a cache of one layer's size
};

// Where the encoder-decoder's decoder counts from in prefix-LM, in conversations and in generation; in span corruption
// always from 0.
enum class DecoderPositions {
  from_zero,
  after_prompt,  // on behind what the encoder has read
};

// The norms after the encoder and before the output.
using OutputNorm = nn::NormKind;

// How the lower half of a YOCO model (its self-decoder) mixes tokens.
enum class SelfDecoder { sliding_window, gated_retention };

// What stands between the two matrices of the MLPs in layers.
enum class MlpKind { gelu, swiglu };

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
  kernels::RopeScaling rope_scaling;
  MlpKind mlp = MlpKind::gelu;
  kernels::GeluKind activation = kernels::GeluKind::tanh;
  double norm_eps = 1.1920928955078125e-07;  // of the RMSNorms inside layers: float32's machine epsilon
  OutputNorm output_norm = OutputNorm::layernorm;
  double output_norm_eps = 1e-5;  // of the norms after the encoder and before the output
  bool biases = false;            // of the matrices in an encoder-decoder's layers
  bool qkv_biases = false;        // of the queries, keys and values of a decoder alone
  bool cross_rope = true;         // whether queries and keys of an encoder-decoder's cross-attention turn
  // Dynamic NTK: with a factor above 1 the base of an encoder-decoder's self-attentions grows with the length of their
  // sequence once that is longer than rope_ntk_length: rope_base_at().
  double rope_ntk_factor = 1;
  int64_t rope_ntk_length = 0;  // 0: max_seq_len
  MemoryKv memory_kv = MemoryKv::per_layer_shared;
  bool logit_biases = false;
  bool tied_output = true;  // of a decoder: the embedding is the output matrix too
  SelfDecoder self_decoder = SelfDecoder::gated_retention;
  int64_t n_self_heads = 0;     // of a YOCO model's lower half; 0: n_heads
  int64_t window = 1024;        // sliding_window: latest tokens that a token sees, itself included
  double decay_divisor = 16;    // gated_retention: of a gate's log-sigmoid
  BoundaryStrategy boundaries;  // where blocks open in training rows
  int64_t max_blocks = 8;
  std::vector<std::string> prompt_lengths;  // what boundaries = prompt_style draws from: "LENGTH" or "LENGTH:COUNT"
  DecoderPositions decoder_positions = DecoderPositions::from_zero;
  double noise_density = 0.15;  // span corruption: share of the tokens that is replaced
  double mean_span_length = 4;  // span corruption: tokens of a stretch
  int64_t sentinel_start = -1;  // id of the first sentinel; -1: behind the tokenizer's tokens
  int64_t n_sentinels = 100;    // of an encoder-decoder
  int64_t bos_id = -1;          // what begins and ends a text; -1: not known (the run takes the tokenizer's)
  int64_t eos_id = -1;
  BlockConfig block;              // of a block_transformer
  int64_t mup_base_dim = 0;       // 0: no muP
  int64_t mup_base_head_dim = 0;  // 0: attention scores are scaled by 1 / sqrt(head_dim)

  int64_t kv_heads() const { return n_kv_heads ? n_kv_heads : n_heads; }
  int64_t head_size() const { return head_dim ? head_dim : dim / n_heads; }
  int64_t self_heads() const { return n_self_heads ? n_self_heads : n_heads; }
  int64_t self_head_size() const { return dim / self_heads(); }
  int64_t mlp_size() const { return mlp_dim ? mlp_dim : 4 * dim; }
  int64_t layers() const { return n_encoder_layers + n_decoder_layers; }
  int64_t ntk_length() const { return rope_ntk_length ? rope_ntk_length : max_seq_len; }
  // rope_base * (f * L / n - (f - 1)) ** (d / (d - 2)) with f the factor, n the NTK length, d the head size and L
  // `length`, n at least.
  double rope_base_at(int64_t length) const;
  // muP: sqrt(base_head_dim) / head_dim
  double attention_scale() const { return attention_scale(head_size()); }
  double attention_scale(int64_t size_of_head) const;
  double self_attention_scale() const { return attention_scale(self_head_size()); }
  double logit_multiplier() const;    // muP: sqrt(base_dim / dim); where the output matrix is not tied base_dim / dim
  double embedding_scale() const;     // of a YOCO model: sqrt(dim); muP: sqrt(base_dim), whatever the width
  double matrix_rate_factor() const;  // muP: learning rate of matrices, base_dim / dim

  // Sets the sizes and ids that follow from a tokenizer of `tokens` tokens where they are open: vocab_size 0 and
  // sentinel_start -1, for which an encoder-decoder's vocabulary is extended. InputError when vocab_size is too small.
  void fit_tokenizer(int64_t tokens);

  // InputError naming the field when sizes are not positive, don't divide or are absurd.
  void validate(const std::string& where) const;
};

void list_fields(FieldList& fields, ModelConfig& config);
std::string_view arch_name(Arch arch);

std::string_view objective_name(Objective objective);
// Whether prepare() of the architecture knows the objective; and all that it knows, for messages.
bool learns(Arch arch, Objective objective);
std::string objectives_of(Arch arch);
// What the architecture learns from plain text when nothing else is said.
Objective default_objective(Arch arch);
// What any model of an architecture learns from rows of any tokens: span corruption would need sentinel tokens.
Objective plain_objective(Arch arch);

}  // namespace tandem
