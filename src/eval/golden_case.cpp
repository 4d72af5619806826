#include "eval/golden_case.h"

#include <cmath>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "convert/authors.h"
#include "convert/huggingface.h"
#include "eval/golden_blocks.h"
#include "eval/golden_collators.h"
#include "eval/golden_fields.h"
#include "eval/golden_mu.h"
#include "formats/authors_names.h"
#include "formats/huggingface_names.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// A norm's eps; its kind must be the one our architectures have.
double norm_eps(const Json& json, const char* key, const char* kind, const std::string& where) {
  const Json& norm = json_at(json, key, where);
  std::string got = json_string(norm, "kind", where);
  if (got != kind) unsupported(where, fmt::format("{}.kind", key), got, kind);
  return json_number(norm, "eps", where);
}

void require_text(const Json& json, const char* key, const std::string& expected, const std::string& where) {
  std::string got = json_string(json, key, where);
  if (got != expected) unsupported(where, key, got, expected);
}

ModelConfig yoco_config(const Json& json, const std::string& where) {
  ModelConfig c;
  c.arch = Arch::yoco;
  c.self_decoder = choose<SelfDecoder>(
      json, "self_decoder", where,
      {{"sliding_window_attention", SelfDecoder::sliding_window}, {"gated_retention", SelfDecoder::gated_retention}});
  if (c.self_decoder == SelfDecoder::sliding_window) {
    c.window = json_int(json, "sliding_window", where);
  } else {
    c.decay_divisor = json_number(json, "gate_logit_normalizer", where);
  }
  c.vocab_size = json_int(json, "vocab_size", where);
  c.dim = json_int(json, "hidden_size", where);
  c.mlp_dim = json_int(json, "intermediate_size", where);
  c.n_encoder_layers = json_int(json, "num_self_decoder_layers", where);
  c.n_decoder_layers = json_int(json, "num_cross_decoder_layers", where);
  c.n_self_heads = json_int(json, "num_self_heads", where);
  c.n_heads = json_int(json, "num_attention_heads", where);
  c.n_kv_heads = json_int(json, "num_key_value_heads", where);
  c.head_dim = json_int(json, "cross_head_dim", where);
  c.norm_eps = c.output_norm_eps = json_number(json, "rms_norm_eps", where);
  c.rope_base = json_number(json, "rope_theta", where);
  c.max_seq_len = json_int(json, "max_seq_len", where);
  c.bos_id = json_int(json, "bos_token_id", where);
  c.eos_id = json_int(json, "eos_token_id", where);
  require_text(json, "rope_style", "interleaved", where);
  require_text(json, "rope_frequency", "theta ** -linspace(0, 1, head_dim/2), end point included", where);
  require_text(json, "hidden_act", "silu (SwiGLU)", where);
  for (const char* key : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) require_flag(json, key, false, where);
  c.validate(where);
  require_equal(json, "num_hidden_layers", static_cast<double>(c.layers()), where);
  require_equal(json, "self_head_dim", static_cast<double>(c.self_head_size()), where);
  require_equal(json, "embed_scale", c.embedding_scale(), where);
  return c;
}

ModelConfig model_config(const Json& json, const std::string& where) {
  if (is_golden_block_case(json)) return golden_block_config(json, where);
  if (is_golden_mu_case(json)) return golden_mu_config(json, where);
  if (is_huggingface_config(json)) return huggingface_config(json, where);
  ModelConfig c;
  c.arch = choose<Arch>(json, "tandem_arch", where,
                        {{"double_decoder", Arch::double_decoder},
                         {"decoder", Arch::decoder},
                         {"encoder_decoder", Arch::encoder_decoder},
                         {"yoco", Arch::yoco}});
  if (c.arch == Arch::yoco) return yoco_config(json, where);
  c.vocab_size = json_int(json, "vocab_size", where);
  c.dim = json_int(json, "dim", where);
  c.n_heads = json_int(json, "n_heads", where);
  c.head_dim = json_int(json, "head_dim", where);
  c.n_encoder_layers = json_int(json, "n_encoder_layers", where);
  c.n_decoder_layers = json_int(json, "n_decoder_layers", where);
  c.mlp_dim = json_int(json, "mlp_dim", where);
  c.max_seq_len = json_int(json, "max_seq_len", where);
  c.rope_base = json_number(json, "rope_base", where);
  c.activation = choose<kernels::GeluKind>(
      json, "activation", where, {{"gelu_tanh", kernels::GeluKind::tanh}, {"gelu_erf", kernels::GeluKind::erf}});
  c.rope_pairs = choose<kernels::RopePairs>(json, "rope_pairs", where,
                                            {{"adjacent (2i, 2i+1)", kernels::RopePairs::adjacent},
                                             {"adjacent", kernels::RopePairs::adjacent},
                                             {"half_split", kernels::RopePairs::half_split}});
  c.norm_eps = norm_eps(json, "block_norm", "rmsnorm", where);
  c.output_norm_eps = norm_eps(json, "output_norm", "layernorm", where);
  require_flag(json, "linear_bias", false, where);
  require_flag(json, "tied_embeddings", true, where);
  require_equal(json, "embedding_scale", 1.0, where);
  if (c.arch != Arch::decoder) {
    require_flag(json, "encoder_causal", c.arch == Arch::double_decoder, where);
    require_equal(json_at(json, "encoder_output_norm", where), "eps", c.output_norm_eps, where);
  }
  if (c.arch == Arch::double_decoder) {
    c.memory_kv = json_bool(json, "shared_kv", where) ? MemoryKv::per_layer_shared : MemoryKv::per_layer;
    c.logit_biases = json_bool(json, "logit_biases", where);
  }
  const Json& mup = json_at(json, "mup", where);
  if (json_bool(mup, "enabled", where)) {
    c.mup_base_dim = json_int(mup, "base_dim", where);
    c.mup_base_head_dim = json_int(mup, "base_head_dim", where);
  }
  c.validate(where);
  require_equal(json, "attn_scale", c.attention_scale(), where);
  require_equal(json, "logit_multiplier", c.logit_multiplier(), where);
  return c;
}

GoldenTolerance read_tolerance(const Json& json, GoldenKind kind, const std::string& where) {
  const Json& t = json_at(json, "tolerance", where);
  GoldenTolerance tolerance;
  tolerance.logits_abs = json_number(t, "logits_abs", where);
  tolerance.loss_abs = json_number(t, "loss_abs", where);
  tolerance.grad_rel = json_number(t, "grad_rel", where);
  tolerance.grad_floor = json_number(t, "grad_floor", where);
  if (kind == GoldenKind::training) {
    tolerance.step_loss_abs = json_number(t, "step_loss_abs", where);
    tolerance.grad_norm_rel = json_number(t, "grad_norm_rel", where);
    tolerance.final_rel = json_number(t, "final_rel", where);
  }
  return tolerance;
}

// Distillation, and images beside text: there are numbers of the authors, and nothing here computes them.
void refuse_what_is_not_there_yet(const Json& json, const std::string& where) {
  if (!json.is_object() || !json.contains("architecture") || !json.at("architecture").is_string()) return;
  std::string kind = json_string(json, "architecture", where);
  if (kind != "mu_kd" && kind != "mu_vision") return;
  throw InputError({.what = "golden case that is not supported yet",
                    .where = where,
                    .got = fmt::format("architecture {}: {}", kind, kind == "mu_kd" ? "distillation" : "images"),
                    .expected = "a language model's passes"});
}

}  // namespace

GoldenCase read_golden_case(const fs::path& folder) {
  GoldenCase c;
  c.folder = folder;
  fs::path file = folder / "config.json";
  if (has_golden_collators(folder)) {
    c.kind = GoldenKind::collators;
    c.name = "collators";
    return c;
  }
  if (!fs::exists(file)) {
    throw InputError({.what = "not a golden case",
                      .where = folder.string(),
                      .expected = "a folder with config.json, weights.safetensors and io.safetensors"});
  }
  c.json = read_json(file);
  std::string where = file.string();
  c.name = c.json.contains("case") ? json_string(c.json, "case", where) : folder.filename().string();
  refuse_what_is_not_there_yet(c.json, where);
  c.config = model_config(c.json, where);
  if (c.config.arch == Arch::block_transformer) {
    c.kind = GoldenKind::forward;  // and generation, where the case has it
    c.tolerance = read_tolerance(c.json, c.kind, where);
    return c;
  }
  const bool one_kind = is_golden_mu_case(c.json) || is_huggingface_config(c.json);
  if (c.config.arch == Arch::yoco || one_kind) {  // a training pass, and generation step by step
    c.padding_id = static_cast<int32_t>(json_int(c.json, "pad_token_id", where));
    c.tolerance = read_tolerance(c.json, c.kind, where);
    return c;
  }
  c.kind = choose<GoldenKind>(c.json, "objective", where,
                              {{"block_next_token", GoldenKind::forward},
                               {"next_token", GoldenKind::forward},
                               {"span_corruption", GoldenKind::forward},
                               {"sft", GoldenKind::forward},
                               {"greedy_generation", GoldenKind::generation},
                               {"training", GoldenKind::training}});
  c.tolerance = read_tolerance(c.json, c.kind, where);
  return c;
}

namespace {

[[noreturn]] void does_not_fit(const std::string& name, const fs::path& path, const Tensor& stored,
                               const Shape& expected) {
  throw InputError({.what = "tensor does not fit the model",
                    .where = fmt::format("'{}' of {}", name, path.string()),
                    .got = fmt::format("{} {}", dtype_name(stored.dtype), stored.shape.text()),
                    .expected = fmt::format("float32 {}", expected.text())});
}

}  // namespace

namespace {

// The double decoder's authors have no gated MLPs.
bool of_llama_family(const ModelConfig& config) {
  return config.arch == Arch::decoder && config.mlp == MlpKind::swiglu;
}

}  // namespace

std::vector<std::string> golden_parameter_names(const Parameter& parameter, const ModelConfig& config) {
  if (of_llama_family(config)) return huggingface_parameter_names(parameter.name());
  return authors_parameter_names(parameter.name(), authors_model(config));
}

std::string golden_activation_name(const std::string& name, const ModelConfig& config) {
  return authors_activation_name(name, authors_model(config));
}

void load_golden_weights(const fs::path& path, Model& model) {
  if (model.config().arch == Arch::block_transformer) return load_golden_blocks(path, model);
  SafetensorsFile file = SafetensorsFile::open(path);
  std::set<std::string> used;
  for (Parameter& p : model.parameters().all()) {
    std::vector<std::string> names = golden_parameter_names(p, model.config());
    int64_t row = 0, row_size = p.master().row_size();
    for (const std::string& name : names) {
      Tensor stored = file.tensor(name);
      bool fits = names.size() == 1 ? stored.shape == p.shape()
                                    : stored.shape.rank() == p.shape().rank() && stored.row_size() == row_size;
      if (!fits || stored.dtype != DType::f32 || row + stored.rows() > p.shape()[0]) {
        does_not_fit(name, path, stored, p.shape());
      }
      copy_convert(p.master().slice_rows(row, row + stored.rows()), stored);
      row += stored.rows();
      used.insert(name);
    }
    if (row != p.shape()[0]) does_not_fit(names.back(), path, file.tensor(names.back()), p.shape());
    if (authors_model(model.config()) == AuthorsModel::mu) adopt_query_heads(p.name(), p.master(), model.config());
  }
  for (const std::string& name : file.names()) {
    if (!used.count(name)) {
      throw InputError({.what = "tensor that the model does not have", .where = path.string(), .got = name});
    }
  }
  model.parameters().refresh_compute();
}

std::vector<int32_t> golden_integers(const Tensor& t, const std::string& name, const std::string& where) {
  auto refuse = [&](const std::string& got) {
    throw InputError({.what = "golden tensor of another type",
                      .where = fmt::format("'{}' of {}", name, where),
                      .got = got,
                      .expected = "int64 numbers that fit into 32 bits"});
  };
  if (t.dtype != DType::i64) refuse(std::string(dtype_name(t.dtype)));
  std::vector<int32_t> out;
  for (int64_t i = 0; i < t.elements(); ++i) {
    int64_t value = t.as<int64_t>()[i];
    if (value != static_cast<int32_t>(value)) refuse(fmt::format("{}", value));
    out.push_back(static_cast<int32_t>(value));
  }
  return out;
}

std::vector<std::vector<int32_t>> golden_rows(const SafetensorsFile& file, const std::string& name,
                                              const std::string& where) {
  Tensor t = file.tensor(name);
  if (t.shape.rank() != 2 || t.elements() == 0) {
    throw InputError({.what = "golden tensor of another size",
                      .where = fmt::format("'{}' of {}", name, where),
                      .got = t.shape.text(),
                      .expected = "[rows, tokens]"});
  }
  std::vector<int32_t> all = golden_integers(t, name, where);
  std::vector<std::vector<int32_t>> rows;
  for (int64_t row = 0; row < t.rows(); ++row) {
    rows.emplace_back(all.begin() + row * t.row_size(), all.begin() + (row + 1) * t.row_size());
  }
  return rows;
}

Batch golden_batch(const Tensor& input_ids, const Tensor& targets, std::span<const int64_t> boundaries,
                   const std::string& where) {
  if (input_ids.shape.rank() != 2 || !(targets.shape == input_ids.shape) || input_ids.elements() == 0) {
    throw InputError({.what = "input_ids and targets do not fit",
                      .where = where,
                      .got = fmt::format("{} and {}", input_ids.shape.text(), targets.shape.text()),
                      .expected = "two int64 tensors [rows, length]"});
  }
  Batch batch;
  batch.rows = input_ids.shape[0];
  batch.length = input_ids.shape[1];
  batch.ids = golden_integers(input_ids, "input_ids", where);
  batch.labels = golden_integers(targets, "targets", where);
  for (int64_t i = 0; i < batch.tokens(); ++i) {
    batch.positions.push_back(static_cast<int32_t>(i % batch.length));
    batch.segments.push_back(0);
  }
  for (int64_t row = 0; row < batch.rows; ++row) {
    for (int64_t b : boundaries) batch.boundaries.push_back(static_cast<int32_t>(row * batch.length + b));
  }
  return batch;
}

Batch golden_sides(const SafetensorsFile& io, const std::string& where) {
  Tensor read = io.tensor("encoder_input_ids"), written = io.tensor("decoder_input_ids");
  Tensor positions = io.tensor("decoder_input_positions"), targets = io.tensor("targets");
  std::vector<int32_t> lengths = golden_integers(io.tensor("blocks"), "blocks", where);
  bool fits = read.shape.rank() == 2 && written.shape == read.shape && positions.shape == read.shape &&
              targets.shape == read.shape && static_cast<int64_t>(lengths.size()) == read.rows();
  for (int32_t length : lengths) fits = fits && length >= 1 && length <= read.row_size();
  if (!fits) {
    throw InputError({.what = "encoder and decoder inputs do not fit",
                      .where = where,
                      .got = fmt::format("{}, {}, {}, {}", read.shape.text(), written.shape.text(),
                                         positions.shape.text(), targets.shape.text()),
                      .expected = "int64 tensors [rows, length], and as many lengths in 'blocks' as rows"});
  }
  Batch batch;
  batch.rows = read.rows();
  batch.length = read.row_size();
  batch.two_sided = true;
  batch.writer.ids = golden_integers(written, "decoder_input_ids", where);
  batch.writer.positions = golden_integers(positions, "decoder_input_positions", where);
  batch.writer.labels = golden_integers(targets, "targets", where);
  std::vector<int32_t> ids = golden_integers(read, "encoder_input_ids", where);
  for (int64_t row = 0; row < batch.rows; ++row) {
    auto begin = static_cast<int64_t>(batch.reader.ids.size());
    for (int32_t t = 0; t < lengths[static_cast<size_t>(row)]; ++t) {
      batch.reader.ids.push_back(ids[static_cast<size_t>(row * batch.length + t)]);
      batch.reader.positions.push_back(t);
    }
    TokenRange sequence{begin, static_cast<int64_t>(batch.reader.ids.size())};
    batch.reader.sequences.push_back(sequence);
    batch.writer.blocks.push_back({{row * batch.length, (row + 1) * batch.length}, sequence});
  }
  return batch;
}

}  // namespace tandem
