// Small models of the Llama family, on their way to other projects' files and back.
#pragma once

#include <functional>
#include <vector>

#include "arch/model_check.h"
#include "arch/model_folder.h"

namespace tandem::test {

inline ModelConfig llama_config(int64_t layers, int64_t mlp_dim) {
  ModelConfig c = small_config(Arch::decoder);
  c.n_encoder_layers = 0;
  c.n_decoder_layers = layers;
  c.n_kv_heads = 2;
  c.mlp_dim = mlp_dim;
  c.mlp = MlpKind::swiglu;
  c.output_norm = OutputNorm::rmsnorm;
  c.rope_pairs = kernels::RopePairs::half_split;
  c.norm_eps = c.output_norm_eps = 1e-5;
  c.tied_output = false;
  return c;
}

// The conventions that the family's formats tell apart.
inline std::vector<NamedConfig> llama_variants(int64_t layers, int64_t mlp_dim) {
  using Kind = kernels::RopeScaling::Kind;
  std::vector<NamedConfig> out;
  auto add = [&](const char* name, auto&& change) {
    out.push_back({name, llama_config(layers, mlp_dim)});
    change(out.back().config);
  };
  add("untied", [](ModelConfig&) {});
  add("tied", [](ModelConfig& c) { c.tied_output = true; });
  add("wide heads", [](ModelConfig& c) { c.head_dim = 12; });
  add("another base", [](ModelConfig& c) { c.rope_base = 500000; });
  add("biases", [](ModelConfig& c) { c.qkv_biases = true; });
  add("linear", [](ModelConfig& c) { c.rope_scaling = {.kind = Kind::linear, .factor = 2.5}; });
  add("llama3", [](ModelConfig& c) { c.rope_scaling = {Kind::llama3, 4, 1, 3, 12}; });
  return out;
}

// What is in a folder computes what the model does, bit for bit.
inline void expect_same_logits(Model& model, const std::filesystem::path& folder) {
  auto restored = load_model(folder, Precision::float32(), ParameterStore::Gradients::none);
  EXPECT_EQ(restored->config().norm_eps, model.config().norm_eps);
  EXPECT_EQ(restored->config().rope_base, model.config().rope_base);
  EXPECT_EQ(restored->config().max_seq_len, model.config().max_seq_len);
  Context ctx(1);
  Batch batch = random_batch(model.config(), 1, 20, {});
  EXPECT_EQ(logits_of(model, batch, ctx), logits_of(*restored, batch, ctx));
}

}  // namespace tandem::test
