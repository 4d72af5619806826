#include "convert/huggingface.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "formats/huggingface_names.h"

namespace tandem {
namespace {

[[noreturn]] void unsupported(const std::string& where, const std::string& field, const std::string& got,
                              const std::string& expected, const std::string& hint = "") {
  throw InputError({.what = fmt::format("model that cannot be read: '{}'", field),
                    .where = where,
                    .got = got,
                    .expected = expected,
                    .hint = hint});
}

bool has(const Json& json, const char* key) { return json.contains(key) && !json.at(key).is_null(); }

bool flag_or(const Json& json, const char* key, bool otherwise, const std::string& where) {
  return has(json, key) ? json_bool(json, key, where) : otherwise;
}

// "llama", "mistral" or "qwen2".
std::string family_of(const Json& json, const std::string& where) {
  struct Known {
    const char* architecture;
    const char* model_type;
  };
  constexpr std::array<Known, 3> kKnown{
      {{"LlamaForCausalLM", "llama"}, {"MistralForCausalLM", "mistral"}, {"Qwen2ForCausalLM", "qwen2"}}};
  constexpr const char* kExpected = "LlamaForCausalLM, MistralForCausalLM or Qwen2ForCausalLM";
  std::string got;
  if (has(json, "architectures")) {
    const Json& list = json.at("architectures");
    if (!list.is_array() || list.size() != 1 || !list[0].is_string()) {
      unsupported(where, "architectures", list.dump(-1, ' ', false, Json::error_handler_t::replace), kExpected);
    }
    got = list[0].get<std::string>();
    for (const Known& known : kKnown) {
      if (got == known.architecture) return known.model_type;
    }
    unsupported(where, "architectures", got, kExpected);
  }
  got = json_string(json, "model_type", where);
  for (const Known& known : kKnown) {
    if (got == known.model_type) return got;
  }
  unsupported(where, "model_type", got, "llama, mistral or qwen2");
}

// Rotary angles: rope_theta and rope_scaling beside each other, or rope_parameters that holds both (transformers 5).
void read_rope(const Json& json, ModelConfig& c, const std::string& where) {
  using Kind = kernels::RopeScaling::Kind;
  const bool together = has(json, "rope_parameters");
  const char* key = together ? "rope_parameters" : "rope_scaling";
  const Json none = Json::object();
  const Json& scaling = has(json, key) ? json.at(key) : none;
  if (!scaling.is_object()) unsupported(where, key, scaling.dump(), "an object");
  std::string place = fmt::format("{}: {}", where, key);
  if (together && has(scaling, "rope_theta")) {
    c.rope_base = json_number(scaling, "rope_theta", place);
  } else if (has(json, "rope_theta")) {
    c.rope_base = json_number(json, "rope_theta", where);
  }
  if (has(scaling, "partial_rotary_factor") && json_number(scaling, "partial_rotary_factor", place) != 1) {
    unsupported(where, "partial_rotary_factor", scaling.at("partial_rotary_factor").dump(), "1");
  }
  std::string type = "default";
  for (const char* name : {"rope_type", "type"}) {
    if (!has(scaling, name)) continue;
    type = json_string(scaling, name, place);
    break;
  }
  if (type == "default") return;
  kernels::RopeScaling& s = c.rope_scaling;
  if (type != "linear" && type != "llama3") {
    unsupported(where, fmt::format("{}.rope_type", key), type, "default, linear or llama3");
  }
  s.factor = json_number(scaling, "factor", place);
  s.kind = type == "linear" ? Kind::linear : Kind::llama3;
  if (s.kind == Kind::linear) return;
  s.low_turns = json_number(scaling, "low_freq_factor", place);
  s.high_turns = json_number(scaling, "high_freq_factor", place);
  s.original_length = json_int(scaling, "original_max_position_embeddings", place);
}

// Zero would be read as a size that is left open.
int64_t size_of(const Json& json, const char* key, const std::string& where) {
  int64_t size = json_int(json, key, where);
  if (size >= 1) return size;
  throw InputError(
      {.what = fmt::format("bad '{}'", key), .where = where, .got = std::to_string(size), .expected = "1 or more"});
}

// The first id where there are several (Llama 3's chat models end in three ways).
int64_t token_id(const Json& json, const char* key, const std::string& where) {
  if (!has(json, key)) return -1;
  const Json& value = json.at(key);
  if (!value.is_array()) return json_int(json, key, where);
  if (value.empty() || !value[0].is_number_integer()) {
    unsupported(where, key, value.dump(-1, ' ', false, Json::error_handler_t::replace), "an id or a list of ids");
  }
  return value[0].get<int64_t>();
}

void check_window(const Json& json, const std::string& family, int64_t rows, const std::string& where) {
  if (!has(json, "sliding_window")) return;
  if (family == "qwen2" && !flag_or(json, "use_sliding_window", false, where)) return;
  int64_t window = json_int(json, "sliding_window", where);
  if (window >= rows) return;
  unsupported(where, "sliding_window", fmt::format("{}", window),
              fmt::format("none, or at least as many as the rows are long ({})", rows),
              fmt::format("--max-length {} leaves the window without effect", window));
}

void check_choices(const Json& json, const std::string& where) {
  if (has(json, "hidden_act")) {
    std::string act = json_string(json, "hidden_act", where);
    if (act != "silu" && act != "swish") unsupported(where, "hidden_act", act, "silu");
  }
  if (has(json, "quantization_config")) {
    unsupported(where, "quantization_config", "quantised weights", "tensors of float32, float16 or bfloat16");
  }
  if (flag_or(json, "attention_bias", false, where)) unsupported(where, "attention_bias", "true", "false");
  if (flag_or(json, "mlp_bias", false, where)) unsupported(where, "mlp_bias", "true", "false");
  if (has(json, "partial_rotary_factor") && json_number(json, "partial_rotary_factor", where) != 1) {
    unsupported(where, "partial_rotary_factor", json.at("partial_rotary_factor").dump(), "1");
  }
}

}  // namespace

bool is_huggingface_config(const Json& json) {
  return json.is_object() && !json.contains("arch") && (json.contains("architectures") || json.contains("model_type"));
}

ModelConfig huggingface_config(const Json& json, const std::string& where, int64_t longest) {
  const std::string family = family_of(json, where);
  check_choices(json, where);
  ModelConfig c;
  c.arch = Arch::decoder;
  c.mlp = MlpKind::swiglu;
  c.output_norm = OutputNorm::rmsnorm;
  c.rope_pairs = kernels::RopePairs::half_split;
  c.vocab_size = json_int(json, "vocab_size", where);
  c.dim = json_int(json, "hidden_size", where);
  c.mlp_dim = size_of(json, "intermediate_size", where);
  c.n_encoder_layers = 0;
  c.n_decoder_layers = json_int(json, "num_hidden_layers", where);
  c.n_heads = json_int(json, "num_attention_heads", where);
  c.n_kv_heads = has(json, "num_key_value_heads") ? size_of(json, "num_key_value_heads", where) : c.n_heads;
  if (has(json, "head_dim")) c.head_dim = size_of(json, "head_dim", where);
  c.max_seq_len = json_int(json, "max_position_embeddings", where);
  c.norm_eps = c.output_norm_eps = json_number(json, "rms_norm_eps", where);
  c.tied_output = flag_or(json, "tie_word_embeddings", false, where);
  c.qkv_biases = family == "qwen2";
  read_rope(json, c, where);
  c.bos_id = token_id(json, "bos_token_id", where);
  c.eos_id = token_id(json, "eos_token_id", where);
  c.validate(where);
  int64_t rows = longest > 0 ? std::min(longest, c.max_seq_len) : c.max_seq_len;
  check_window(json, family, rows, where);
  return c;
}

void check_llama_family(const ModelConfig& c, const std::string& where) {
  auto require = [&](bool holds, const char* field, const char* got, const char* expected) {
    if (holds) return;
    throw InputError({.what = fmt::format("not a model of the Llama family: '{}'", field),
                      .where = where,
                      .got = got,
                      .expected = expected});
  };
  require(c.arch == Arch::decoder, "arch", std::string(arch_name(c.arch)).c_str(), "decoder");
  require(c.mlp == MlpKind::swiglu, "mlp", "gelu", "swiglu");
  require(c.output_norm == OutputNorm::rmsnorm, "output_norm", "layernorm", "rmsnorm");
  require(c.rope_pairs == kernels::RopePairs::half_split, "rope_pairs", "adjacent", "half_split");
  require(c.norm_eps == c.output_norm_eps, "output_norm_eps", fmt::format("{}", c.output_norm_eps).c_str(),
          fmt::format("that of the other norms, {}", c.norm_eps).c_str());
  require(!c.biases, "biases", "true", "false (qkv_biases = true is Qwen2)");
}

OrderedJson huggingface_json(const ModelConfig& c, const std::string& dtype, const std::string& where) {
  using Kind = kernels::RopeScaling::Kind;
  check_llama_family(c, where);
  const bool qwen2 = c.qkv_biases;
  OrderedJson out{{"architectures", {qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
                  {"model_type", qwen2 ? "qwen2" : "llama"},
                  {"vocab_size", c.vocab_size},
                  {"hidden_size", c.dim},
                  {"intermediate_size", c.mlp_size()},
                  {"num_hidden_layers", c.layers()},
                  {"num_attention_heads", c.n_heads},
                  {"num_key_value_heads", c.kv_heads()},
                  {"head_dim", c.head_size()},
                  {"hidden_act", "silu"},
                  {"max_position_embeddings", c.max_seq_len},
                  {"rms_norm_eps", c.norm_eps},
                  {"rope_theta", c.rope_base},
                  {"rope_scaling", nullptr},
                  {"attention_bias", false},
                  {"mlp_bias", false},
                  {"tie_word_embeddings", c.tied_output},
                  {"torch_dtype", dtype}};
  const kernels::RopeScaling& s = c.rope_scaling;
  if (s.kind == Kind::linear) out["rope_scaling"] = {{"rope_type", "linear"}, {"factor", s.factor}};
  if (s.kind == Kind::llama3) {
    out["rope_scaling"] = {{"rope_type", "llama3"},
                           {"factor", s.factor},
                           {"low_freq_factor", s.low_turns},
                           {"high_freq_factor", s.high_turns},
                           {"original_max_position_embeddings", s.original_length}};
  }
  if (qwen2) {
    out.erase("attention_bias");
    out.erase("mlp_bias");
    out["use_sliding_window"] = false;
  }
  if (c.bos_id >= 0) out["bos_token_id"] = c.bos_id;
  if (c.eos_id >= 0) out["eos_token_id"] = c.eos_id;
  return out;
}

CheckpointMap huggingface_map(const ModelConfig& config) {
  const int64_t q = config.n_heads * config.head_size(), kv = config.kv_heads() * config.head_size();
  CheckpointMap map;
  map.parts = [q, kv](const Parameter& p) {
    std::vector<std::string> names = huggingface_parameter_names(p.name());
    return parts_of(p, names, names.size() == 3 ? std::vector{q, kv, kv} : std::vector<int64_t>{});
  };
  map.ignores = huggingface_ignores;
  return map;
}

void fold_scales(const ModelConfig& config, ParameterStore& parameters) {
  const double logits = config.logit_multiplier();
  const double scores = config.attention_scale() * std::sqrt(static_cast<double>(config.head_size()));
  auto scale = [](const Tensor& t, double factor) {
    for (int64_t r = 0; factor != 1 && r < t.rows(); ++r) {
      for (int64_t i = 0; i < t.row_size(); ++i) store_element(t, r, i, load_element(t, r, i) * factor);
    }
  };
  const int64_t queries = config.n_heads * config.head_size();
  for (Parameter& p : parameters.all()) {
    if (p.name() == "output_norm.weight") scale(p.master(), logits);
    if (p.name().find(".attention.qkv.") != std::string::npos) scale(p.master().slice_rows(0, queries), scores);
  }
}

}  // namespace tandem
