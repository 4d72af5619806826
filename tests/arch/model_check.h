// Small models and what tests ask of them.
#pragma once

#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "arch/model.h"
#include "arch/sides.h"

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
  c.bos_id = 1;
  c.eos_id = 2;
  c.sentinel_start = 20;
  c.n_sentinels = 9;
  return c;
}

// Mu's conventions: narrow attention, biases, RMSNorms, and a cross-attention without positions.
inline void make_mu(ModelConfig& c) {
  c.n_heads = 6;
  c.n_kv_heads = 3;
  c.head_dim = 4;
  c.mlp_dim = 40;
  c.rope_pairs = kernels::RopePairs::half_split;
  c.norm_eps = c.output_norm_eps = 1e-6;
  c.output_norm = OutputNorm::rmsnorm;
  c.biases = true;
  c.cross_rope = false;
}

// How many of the first `count` tokens a cache holds something of: all, but with blocks only those of the complete ones
// before the last, which is read by what is written next.
inline int64_t cached_tokens(const ModelConfig& c, int64_t count) {
  if (c.arch != Arch::block_transformer) return count;
  int64_t complete = (count + c.block.length - 1) / c.block.length;
  return std::max<int64_t>(complete - 1, 0) * c.block.length;
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
  add("decoder_rmsnorm", Arch::decoder, [](ModelConfig& c) { c.output_norm = OutputNorm::rmsnorm; });
  add("decoder_llama", Arch::decoder, [](ModelConfig& c) {
    c.n_kv_heads = 2;
    c.rope_pairs = kernels::RopePairs::half_split;
    c.mlp = MlpKind::swiglu;
    c.mlp_dim = 40;
    c.output_norm = OutputNorm::rmsnorm;
    c.tied_output = false;
    c.qkv_biases = true;
    c.rope_scaling = {kernels::RopeScaling::Kind::llama3, 4, 1, 3, 12};
  });
  add("decoder_untied_mup", Arch::decoder, [](ModelConfig& c) {
    c.n_kv_heads = 1;
    c.tied_output = false;
    c.mlp = MlpKind::swiglu;
    c.rope_scaling = {.kind = kernels::RopeScaling::Kind::linear, .factor = 2};
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
    c.mlp = MlpKind::swiglu;
    c.n_kv_heads = 1;
    c.head_dim = 12;
    c.n_decoder_layers = 1;
    c.output_norm = OutputNorm::rmsnorm;
  });
  add("encoder_decoder", Arch::encoder_decoder, [](ModelConfig&) {});
  add("encoder_decoder_grouped", Arch::encoder_decoder, [](ModelConfig& c) {
    c.n_kv_heads = 2;
    c.head_dim = 12;
    c.n_encoder_layers = 1;
    c.decoder_positions = DecoderPositions::after_prompt;
    c.mup_base_dim = 16;
  });
  add("mu", Arch::encoder_decoder, make_mu);
  add("mu_ntk", Arch::encoder_decoder, [](ModelConfig& c) {
    make_mu(c);
    c.rope_ntk_factor = 2;
    c.rope_ntk_length = 6;
    c.rope_base = 30;  // small, so that another base is noticed
  });
  add("mu_ntk_mup", Arch::encoder_decoder, [](ModelConfig& c) {
    make_mu(c);
    c.rope_ntk_factor = 4;
    c.rope_ntk_length = 9;
    c.rope_base = 30;
    c.n_kv_heads = 6;
    c.mup_base_dim = 16;
    c.mup_base_head_dim = 2;
  });
  add("yoco_window", Arch::yoco, [](ModelConfig& c) {
    c.self_decoder = SelfDecoder::sliding_window;
    c.window = 5;
    c.n_kv_heads = 2;
  });
  add("yoco_window_wide_mup", Arch::yoco, [](ModelConfig& c) {
    c.self_decoder = SelfDecoder::sliding_window;
    c.window = 7;
    c.n_self_heads = 2;
    c.head_dim = 12;
    c.n_encoder_layers = 1;
    c.mup_base_dim = 16;
    c.mup_base_head_dim = 4;
  });
  add("yoco_retention", Arch::yoco, [](ModelConfig& c) {
    c.n_kv_heads = 2;
    c.decay_divisor = 4;
  });
  add("yoco_retention_wide_heads", Arch::yoco, [](ModelConfig& c) {
    c.n_self_heads = 2;
    c.n_kv_heads = 1;
    c.n_decoder_layers = 1;
    c.decay_divisor = 1;
  });
  // Random pads have tests of their own.
  auto add_blocks = [&](const std::string& name, auto&& change) {
    add(name, Arch::block_transformer, [&](ModelConfig& c) {
      c.block.random_first_block = false;
      change(c);
    });
  };
  add_blocks("block_transformer", [](ModelConfig&) {});
  add_blocks("block_transformer_roberta", [](ModelConfig& c) {
    c.block.embedder = BlockEmbedder::roberta;
    c.block.embedder_layers = 1;
    c.block.embedder_pad_id = 1;
    c.block.length = 3;
    c.block.embedder_dim = 12;
    c.block.embedder_heads = 2;
    c.block.expansion = 1;
    c.mup_base_dim = 16;
    c.mup_base_head_dim = 4;
  });
  add_blocks("block_transformer_summation", [](ModelConfig& c) {
    c.block.token_decoder = TokenDecoder::summation;
    c.block.token_dim = 24;
    c.block.token_heads = 2;
    c.block.rotary_fraction = 0.5;
    c.rope_pairs = kernels::RopePairs::half_split;
    c.activation = kernels::GeluKind::erf;
  });
  add_blocks("block_transformer_cross", [](ModelConfig& c) {
    c.block.embedder = BlockEmbedder::cls;
    c.block.embedder_layers = 2;
    c.block.token_decoder = TokenDecoder::cross_attention;
    c.block.length = 5;
    c.block.embedder_dim = 16;
    c.block.expansion = 3;
    // Few units: the slopes of rectifiers jump where finite differences cross zero.
    c.block.token_mlp_dim = 6;
  });
  add("double_decoder_gated", Arch::double_decoder, [](ModelConfig& c) { c.logit_biases = true; });
  return out;
}

// Whether training passes over rows of one kind: what is read in generation is written there like all else.
inline bool has_one_side(const ModelConfig& config) {
  return config.arch == Arch::decoder || config.arch == Arch::yoco || config.arch == Arch::block_transformer;
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

// The rows' tokens [begin, begin + rows * length) as plain text; the label of a token is the next one of its row.
inline void label_rows(Batch& batch) {
  batch.labels.clear();
  for (int64_t i = 0; i < batch.tokens(); ++i) {
    bool last = i % batch.length == batch.length - 1;
    batch.labels.push_back(last ? kIgnoreLabel : batch.ids[static_cast<size_t>(i + 1)]);
  }
}

// What prepare() would lay out with these choices: blocks that open at the row positions `boundaries`; for an
// encoder-decoder, which can't learn from plain text, the first of them ends what is read.
inline void choose(Batch& batch, const ModelConfig& config, const std::vector<int32_t>& boundaries) {
  batch.boundaries.clear();
  batch.prefixes.clear();
  if (config.arch == Arch::encoder_decoder) {
    batch.objective = Objective::prefix_lm;
    auto prefix = boundaries.empty() ? static_cast<int32_t>(batch.length / 2) : boundaries[0];
    batch.prefixes.assign(static_cast<size_t>(batch.rows), prefix);
    lay_out_prefixes(batch, config, config.decoder_positions == DecoderPositions::after_prompt);
    return;
  }
  for (int64_t row = 0; row < batch.rows; ++row) {
    for (int32_t t : boundaries) batch.boundaries.push_back(static_cast<int32_t>(row * batch.length + t));
  }
}

// One row of these tokens, of which none has a label.
inline Batch one_row(const std::vector<int32_t>& ids) {
  Batch batch;
  batch.rows = 1;
  batch.length = static_cast<int64_t>(ids.size());
  batch.ids = ids;
  for (int32_t t = 0; t < batch.length; ++t) batch.positions.push_back(t);
  batch.segments.assign(ids.size(), 0);
  batch.labels.assign(ids.size(), kIgnoreLabel);
  return batch;
}

// rows x length random tokens (none of them special) as plain text.
inline Batch random_rows(const ModelConfig& config, int64_t rows, int64_t length, uint64_t seed = 1) {
  Rng rng(seed, 0);
  Batch batch;
  batch.rows = rows;
  batch.length = length;
  for (int64_t i = 0; i < rows * length; ++i) {
    batch.ids.push_back(static_cast<int32_t>(3 + rng.below(static_cast<uint32_t>(config.vocab_size - 3))));
    batch.positions.push_back(static_cast<int32_t>(i % length));
    batch.segments.push_back(0);
  }
  label_rows(batch);
  return batch;
}

// The same, ready for a pass.
inline Batch random_batch(const ModelConfig& config, int64_t rows, int64_t length,
                          const std::vector<int32_t>& boundaries, uint64_t seed = 1) {
  Batch batch = random_rows(config, rows, length, seed);
  choose(batch, config, boundaries);
  return batch;
}

// Rows [begin, end) of a batch, ready for a pass with the same choices.
inline Batch rows_of(const ModelConfig& config, const Batch& batch, int64_t begin, int64_t end,
                     const std::vector<int32_t>& boundaries) {
  Batch part;
  part.rows = end - begin;
  part.length = batch.length;
  auto copy = [&](std::vector<int32_t> Batch::*list) {
    (part.*list).assign((batch.*list).begin() + begin * batch.length, (batch.*list).begin() + end * batch.length);
  };
  for (auto list : {&Batch::ids, &Batch::positions, &Batch::segments, &Batch::labels}) copy(list);
  choose(part, config, boundaries);
  return part;
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
