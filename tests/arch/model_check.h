// Small models and what tests ask of them.
#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "arch/model.h"

namespace tandem::test {

inline ModelConfig small_config(Arch arch) {
  ModelConfig c;
  c.arch = arch;
  c.vocab_size = 29;
  c.dim = 32;
  c.n_heads = 4;
  c.n_encoder_layers = 2;
  c.n_decoder_layers = 2;
  c.max_seq_len = 24;
  return c;
}

struct NamedConfig {
  std::string name;
  ModelConfig config;
};
inline std::ostream& operator<<(std::ostream& out, const NamedConfig& named) { return out << named.name; }

// Every architecture with every convention at least once.
inline std::vector<NamedConfig> small_configs() {
  std::vector<NamedConfig> out;
  auto add = [&](const std::string& name, Arch arch, auto&& change) {
    ModelConfig c = small_config(arch);
    change(c);
    out.push_back({name, c});
  };
  add("decoder", Arch::decoder, [](ModelConfig&) {});
  add("decoder_grouped_half_split", Arch::decoder, [](ModelConfig& c) {
    c.n_kv_heads = 2;
    c.rope_pairs = kernels::RopePairs::half_split;
    c.activation = kernels::GeluKind::erf;
    c.mup_base_dim = 16;
    c.mup_base_head_dim = 4;
  });
  add("double_decoder", Arch::double_decoder, [](ModelConfig&) {});
  add("double_decoder_unshared_mup", Arch::double_decoder, [](ModelConfig& c) {
    c.memory_kv = MemoryKv::per_layer;
    c.mup_base_dim = 16;
    c.mup_base_head_dim = 4;
  });
  add("double_decoder_one_for_all", Arch::double_decoder, [](ModelConfig& c) {
    c.memory_kv = MemoryKv::one_for_all;
    c.n_kv_heads = 2;
  });
  add("double_decoder_one_for_all_gated", Arch::double_decoder, [](ModelConfig& c) {
    c.memory_kv = MemoryKv::one_for_all;
    c.logit_biases = true;
  });
  add("double_decoder_grouped", Arch::double_decoder, [](ModelConfig& c) {
    c.n_kv_heads = 1;
    c.head_dim = 12;
    c.n_decoder_layers = 1;
  });
  add("double_decoder_gated", Arch::double_decoder, [](ModelConfig& c) { c.logit_biases = true; });
  return out;
}

// A model with random weights; gates and norms move off their neutral start, so that nothing hides behind it.
inline std::unique_ptr<Model> random_model(const ModelConfig& config, const Precision& precision,
                                           ParameterStore::Gradients gradients = ParameterStore::Gradients::none) {
  std::unique_ptr<Model> model = make_model(config, precision, gradients, "test");
  model->parameters().initialise(17);
  Rng rng(23, 0);
  for (Parameter& p : model->parameters().all()) {
    if (p.group() != MupGroup::vector) continue;
    for (int64_t i = 0; i < p.master().elements(); ++i) {
      p.master().as<float>()[i] += static_cast<float>(0.4 * rng.uniform() - 0.2);
    }
  }
  model->parameters().refresh_compute();
  return model;
}

// rows x length random tokens; the label of a token is the next one, and the last one has none.
inline Batch random_batch(const ModelConfig& config, int64_t rows, int64_t length, std::vector<int32_t> boundaries,
                          uint64_t seed = 1) {
  Rng rng(seed, 0);
  Batch batch;
  batch.rows = rows;
  batch.length = length;
  batch.boundaries = std::move(boundaries);
  for (int64_t i = 0; i < rows * length; ++i) {
    batch.ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint32_t>(config.vocab_size))));
    batch.positions.push_back(static_cast<int32_t>(i % length));
    batch.segments.push_back(0);
  }
  for (int64_t i = 0; i < rows * length; ++i) {
    batch.labels.push_back(i % length == length - 1 ? kIgnoreLabel : batch.ids[static_cast<size_t>(i + 1)]);
  }
  return batch;
}

// The logits of every token, as a list of rows.
inline std::vector<std::vector<double>> logits_of(Model& model, const Batch& batch, Context& ctx) {
  Tape tape(ctx, model.parameters().precision(), Tape::Mode::no_grad);
  Tensor logits = model.all_logits(tape, batch);
  std::vector<std::vector<double>> out(static_cast<size_t>(logits.rows()));
  for (int64_t t = 0; t < logits.rows(); ++t) {
    for (int64_t v = 0; v < logits.row_size(); ++v) out[static_cast<size_t>(t)].push_back(load_element(logits, t, v));
  }
  return out;
}

inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

}  // namespace tandem::test
