#include "convert/gguf_llama.h"

#include <array>
#include <cmath>

#include "arch/stop_ids.h"
#include "base/error.h"
#include "convert/huggingface.h"

namespace tandem {
namespace {

using Kind = kernels::RopeScaling::Kind;

constexpr const char* kRopeDivisors = "rope_freqs.weight";
// What rope_freqs.weight was made from: llama.cpp keeps the divisors alone.
constexpr const char* kLlama3 = "tandem.rope_scaling.";

struct Part {
  std::string_view ours;
  std::array<std::string_view, 3> theirs;
};
constexpr std::array<Part, 3> kWhole{{
    {"embedding.weight", {"token_embd.weight"}},
    {"output_norm.weight", {"output_norm.weight"}},
    {"output.weight", {"output.weight"}},
}};
// What stands behind "layers.N." of ours and "blk.N." of theirs.
constexpr std::array<Part, 7> kLayer{{
    {"norm1.weight", {"attn_norm.weight"}},
    {"norm2.weight", {"ffn_norm.weight"}},
    {"attention.qkv.weight", {"attn_q.weight", "attn_k.weight", "attn_v.weight"}},
    {"attention.qkv.bias", {"attn_q.bias", "attn_k.bias", "attn_v.bias"}},
    {"attention.out.weight", {"attn_output.weight"}},
    {"mlp.up.weight", {"ffn_gate.weight", "ffn_up.weight"}},
    {"mlp.down.weight", {"ffn_down.weight"}},
}};

std::vector<std::string> their_names(std::string_view ours) {
  auto named = [](std::string_view prefix, const Part& part) {
    std::vector<std::string> names;
    for (std::string_view theirs : part.theirs) {
      if (!theirs.empty()) names.push_back(std::string(prefix).append(theirs));
    }
    return names;
  };
  for (const Part& part : kWhole) {
    if (ours == part.ours) return named("", part);
  }
  constexpr std::string_view kLayers = "layers.";
  if (!ours.starts_with(kLayers)) return {};
  std::string_view rest = ours.substr(kLayers.size());
  size_t dot = rest.find('.');
  for (const Part& part : kLayer) {
    if (rest.substr(dot + 1) == part.ours) return named("blk." + std::string(rest.substr(0, dot + 1)), part);
  }
  return {};
}

std::string architecture(const ModelConfig& config) { return config.qkv_biases ? "qwen2" : "llama"; }

// Frequencies of the plain table over those of the scaled one, by the angles of position 1.
std::vector<float> divisors_of(const ModelConfig& config) {
  const int64_t half = config.head_size() / 2;
  Storage cos(DType::f64, {2, half}), sin(DType::f64, {2, half});
  auto frequencies = [&](const kernels::RopeScaling& scaling) {
    kernels::rope_table(cos.tensor(), sin.tensor(), config.rope_base, kernels::RopeFrequencies::half_open, scaling);
    std::vector<double> angles;
    for (int64_t i = 0; i < half; ++i) {
      angles.push_back(std::atan2(load_element(sin.tensor(), 1, i), load_element(cos.tensor(), 1, i)));
    }
    return angles;
  };
  std::vector<double> plain = frequencies({}), scaled = frequencies(config.rope_scaling);
  std::vector<float> divisors;
  for (size_t i = 0; i < plain.size(); ++i) divisors.push_back(static_cast<float>(plain[i] / scaled[i]));
  return divisors;
}

[[noreturn]] void unsupported(const GgufFile& file, const std::string& key, const std::string& got,
                              const std::string& expected, const std::string& hint = "") {
  throw InputError({.what = fmt::format("model that cannot be read: '{}'", key),
                    .where = file.path().string(),
                    .got = got,
                    .expected = expected,
                    .hint = hint});
}

// The parameters of Llama 3.1's scaling for a file that has its divisors: those that we wrote beside them, or those
// that Meta's models have, with the factor that the slowest frequency shows.
void read_divisors(GgufFile& file, ModelConfig& c) {
  if (!file.contains(kRopeDivisors)) return;
  Tensor stored = file.tensor(kRopeDivisors);
  const int64_t half = c.head_size() / 2;
  if (stored.shape.rank() != 1 || stored.rows() != half || stored.dtype != DType::f32) {
    unsupported(file, kRopeDivisors, fmt::format("{} {}", dtype_name(stored.dtype), stored.shape.text()),
                fmt::format("float32 [{}]", half));
  }
  kernels::RopeScaling& s = c.rope_scaling;
  s = {.kind = Kind::llama3, .factor = load_element(stored, half - 1, 0)};
  std::string ours(kLlama3);
  if (file.has(ours + "factor")) {
    s.factor = file.number(ours + "factor");
    s.low_turns = file.number(ours + "low_turns");
    s.high_turns = file.number(ours + "high_turns");
    s.original_length = file.integer(ours + "original_length");
  }
  c.validate(file.path().string());
  std::vector<float> made = divisors_of(c);
  for (int64_t i = 0; i < half; ++i) {
    double theirs = load_element(stored, i, 0);
    if (std::abs(theirs - made[static_cast<size_t>(i)]) <= 1e-4 * theirs) continue;
    unsupported(file, kRopeDivisors, fmt::format("{} at {}", theirs, i),
                fmt::format("{}, as Llama 3.1 has it", made[static_cast<size_t>(i)]));
  }
}

void read_scaling(GgufFile& file, const std::string& prefix, ModelConfig& c) {
  std::string type = file.has(prefix + "rope.scaling.type") ? file.string(prefix + "rope.scaling.type") : "none";
  if (type == "linear") {
    c.rope_scaling = {.kind = Kind::linear, .factor = file.number(prefix + "rope.scaling.factor")};
  } else if (type != "none") {
    unsupported(file, prefix + "rope.scaling.type", type, "none or linear");
  }
  if (file.contains(kRopeDivisors) && c.rope_scaling.kind != Kind::none) {
    unsupported(file, prefix + "rope.scaling.type", type, fmt::format("none, beside {}", kRopeDivisors));
  }
  read_divisors(file, c);
}

}  // namespace

ModelConfig gguf_config(GgufFile& file) {
  std::string name = file.string("general.architecture");
  if (name != "llama" && name != "qwen2") {
    unsupported(file, "general.architecture", name, "llama or qwen2");
  }
  std::string prefix = name + ".";
  auto integer = [&](const char* key) { return file.integer(prefix + key); };
  auto integer_or = [&](const char* key, int64_t otherwise) {
    return file.has(prefix + key) ? file.integer(prefix + key) : otherwise;
  };
  ModelConfig c;
  c.arch = Arch::decoder;
  c.mlp = MlpKind::swiglu;
  c.output_norm = OutputNorm::rmsnorm;
  c.rope_pairs = kernels::RopePairs::half_split;
  c.qkv_biases = name == "qwen2";
  c.dim = integer("embedding_length");
  c.mlp_dim = integer("feed_forward_length");
  c.n_encoder_layers = 0;
  c.n_decoder_layers = integer("block_count");
  c.n_heads = integer("attention.head_count");
  c.n_kv_heads = integer_or("attention.head_count_kv", c.n_heads);
  c.max_seq_len = integer("context_length");
  c.head_dim = integer_or("attention.key_length", 0);
  c.norm_eps = file.number(prefix + "attention.layer_norm_rms_epsilon");
  // Stored in float32: the decimal number that was meant.
  c.norm_eps = c.output_norm_eps = std::stod(fmt::format("{}", static_cast<float>(c.norm_eps)));
  c.rope_base = file.has(prefix + "rope.freq_base") ? file.number(prefix + "rope.freq_base") : 10000;
  c.tied_output = !file.contains("output.weight");
  c.vocab_size = file.shape("token_embd.weight").rank() == 2 ? file.shape("token_embd.weight")[0] : 0;
  if (file.has("tokenizer.ggml.bos_token_id")) c.bos_id = file.integer("tokenizer.ggml.bos_token_id");
  if (file.has("tokenizer.ggml.eos_token_id")) c.eos_id = file.integer("tokenizer.ggml.eos_token_id");
  c.validate(file.path().string());
  if (integer_or("expert_count", 0) > 0) {
    unsupported(file, prefix + "expert_count", fmt::format("{}", integer("expert_count")), "0: no mixture of experts");
  }
  for (const char* key : {"attention.value_length", "rope.dimension_count"}) {
    if (integer_or(key, c.head_size()) != c.head_size()) {
      unsupported(file, prefix + key, fmt::format("{}", integer(key)), fmt::format("{}", c.head_size()));
    }
  }
  if (int64_t window = integer_or("attention.sliding_window", 0); window > 0 && window < c.max_seq_len) {
    unsupported(file, prefix + "attention.sliding_window", fmt::format("{}", window),
                fmt::format("none, or at least {}", c.max_seq_len));
  }
  read_scaling(file, prefix, c);
  return c;
}

std::vector<int32_t> gguf_stop_ids(const GgufFile& file, const ModelConfig& config) {
  std::vector<int32_t> ids;
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eom_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (!file.has(key)) continue;
    int64_t id = file.integer(key);
    if (id < 0 || id >= config.vocab_size) {
      unsupported(file, key, fmt::format("{}", id), fmt::format("0..{}", config.vocab_size - 1));
    }
    add_ids(ids, std::vector{static_cast<int32_t>(id)});
  }
  return ids;
}

CheckpointMap gguf_map(const ModelConfig& config) {
  CheckpointMap map;
  map.parts = [config](const Parameter& p) {
    const int64_t q = config.n_heads * config.head_size(), kv = config.kv_heads() * config.head_size();
    std::vector<std::string> names = their_names(p.name());
    bool attention = names.size() == 3;
    std::vector<ForeignPart> parts = parts_of(p, names, attention ? std::vector{q, kv, kv} : std::vector<int64_t>{});
    if (attention && !config.qkv_biases) {
      parts[0].heads = config.n_heads;
      parts[1].heads = config.kv_heads();
      parts[0].layout = parts[1].layout = ForeignPart::Layout::adjacent_pairs;
    }
    return parts;
  };
  map.ignores = [](std::string_view name) { return name == kRopeDivisors; };
  return map;
}

std::vector<std::pair<std::string, GgufValue>> gguf_metadata(const ModelConfig& c, GgufTensorType type,
                                                             const std::string& where) {
  check_llama_family(c, where);
  std::string name = architecture(c), prefix = name + ".";
  std::vector<std::pair<std::string, GgufValue>> out;
  auto count = [&](const std::string& key, int64_t value) {
    out.emplace_back(key, GgufValue::u32(static_cast<uint32_t>(value)));
  };
  auto number = [&](const std::string& key, double value) {
    out.emplace_back(key, GgufValue::f32(static_cast<float>(value)));
  };
  // llama.cpp's numbers of what most tensors are (enum llama_ftype).
  auto file_type = [](GgufTensorType t) {
    switch (t) {
      case GgufTensorType::float16: return 1;
      case GgufTensorType::q4_0: return 2;
      case GgufTensorType::q8_0: return 7;
      case GgufTensorType::bfloat16: return 32;
      default: return 0;
    }
  };
  out.emplace_back("general.architecture", GgufValue::string(name));
  out.emplace_back("general.type", GgufValue::string("model"));
  count("general.file_type", file_type(type));
  count(prefix + "vocab_size", c.vocab_size);
  count(prefix + "context_length", c.max_seq_len);
  count(prefix + "embedding_length", c.dim);
  count(prefix + "block_count", c.layers());
  count(prefix + "feed_forward_length", c.mlp_size());
  count(prefix + "attention.head_count", c.n_heads);
  count(prefix + "attention.head_count_kv", c.kv_heads());
  count(prefix + "attention.key_length", c.head_size());
  count(prefix + "attention.value_length", c.head_size());
  count(prefix + "rope.dimension_count", c.head_size());
  number(prefix + "attention.layer_norm_rms_epsilon", c.norm_eps);
  number(prefix + "rope.freq_base", c.rope_base);
  const kernels::RopeScaling& s = c.rope_scaling;
  if (s.kind == Kind::linear) {
    out.emplace_back(prefix + "rope.scaling.type", GgufValue::string("linear"));
    number(prefix + "rope.scaling.factor", s.factor);
  }
  if (s.kind == Kind::llama3) {
    std::string ours(kLlama3);
    number(ours + "factor", s.factor);
    number(ours + "low_turns", s.low_turns);
    number(ours + "high_turns", s.high_turns);
    count(ours + "original_length", s.original_length);
  }
  return out;
}

Storage gguf_rope_divisors(const ModelConfig& config) {
  if (config.rope_scaling.kind != Kind::llama3) return {};
  std::vector<float> divisors = divisors_of(config);
  Storage out(DType::f32, {static_cast<int64_t>(divisors.size())});
  for (size_t i = 0; i < divisors.size(); ++i) store_element(out.tensor(), static_cast<int64_t>(i), 0, divisors[i]);
  return out;
}

}  // namespace tandem
