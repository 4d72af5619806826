#include "eval/contenders.h"

#include <cmath>

#include "arch/model.h"
#include "base/error.h"

namespace tandem {
namespace {

constexpr double kCloseEnough = 0.005;  // difference in parameters that is left as it is
constexpr int64_t kMlpStep = 8;         // whole vectors

// Sets the width of the MLPs so that the parameters are `wanted`, on which they depend linearly.
void fit_parameters(ModelConfig& config, int64_t wanted) {
  auto far = [&] {
    auto target = static_cast<double>(wanted);
    return std::abs(static_cast<double>(non_embedding_parameters(config)) - target) > kCloseEnough * target;
  };
  if (!far()) return;
  auto with_mlp = [&](int64_t size) {
    config.mlp_dim = size;
    return non_embedding_parameters(config);
  };
  int64_t narrow = with_mlp(kMlpStep), per_step = with_mlp(2 * kMlpStep) - narrow;
  if (per_step <= 0) throw InputError({.what = "no MLPs to fit the parameters with"});
  int64_t steps = 1 + std::llround(static_cast<double>(wanted - narrow) / static_cast<double>(per_step));
  config.mlp_dim = kMlpStep * steps;
  if (steps < 1) {
    throw InputError({.what = "more parameters than the given model even with the narrowest MLPs",
                      .got = fmt::format("{}", narrow),
                      .expected = fmt::format("{}", wanted)});
  }
}

bool is_mu(const ModelConfig& config) { return config.arch == Arch::encoder_decoder && !config.cross_rope; }

// The published Mu's proportions: attention of 3/8 of the width, in whole vectors, 6 heads of which 3 have keys.
void become_mu(ModelConfig& config) {
  config.arch = Arch::encoder_decoder;
  config.n_heads = 6;
  config.n_kv_heads = 3;
  config.head_dim = (config.dim + 127) / 128 * 8;
  config.rope_pairs = kernels::RopePairs::half_split;
  config.norm_eps = config.output_norm_eps = 1e-6;
  config.output_norm = OutputNorm::rmsnorm;
  config.biases = true;
  config.cross_rope = false;
}

// Another architecture of the same width, in its own form.
void become(ModelConfig& config, Arch arch) {
  if (is_mu(config)) {
    if (config.dim % config.head_size() == 0) config.n_heads = config.dim / config.head_size();
    config.head_dim = config.n_kv_heads = 0;
    config.output_norm = OutputNorm::layernorm;
    config.biases = false;
    config.cross_rope = true;
    config.rope_ntk_factor = 1;
  }
  config.arch = arch;
  if (arch != Arch::encoder_decoder) config.biases = false;
  if (arch == Arch::block_transformer) config.output_norm = OutputNorm::layernorm;
}

bool is_llama(const ModelConfig& c) {
  return c.arch == Arch::decoder && c.mlp == MlpKind::swiglu && c.output_norm == OutputNorm::rmsnorm;
}

// The conventions of the Llama family, in the given model's sizes.
void become_llama(ModelConfig& c) {
  become(c, Arch::decoder);
  c.mlp = MlpKind::swiglu;
  c.output_norm = OutputNorm::rmsnorm;
  c.output_norm_eps = c.norm_eps;
  c.rope_pairs = kernels::RopePairs::half_split;
}

// What only a decoder can have is not its rivals'.
void drop_conventions(ModelConfig& c) {
  const ModelConfig plain;
  c.mlp = plain.mlp;
  c.output_norm = plain.output_norm;
  c.qkv_biases = plain.qkv_biases;
  c.tied_output = plain.tied_output;
  c.rope_scaling = plain.rope_scaling;
}

}  // namespace

std::string_view role_name(ContenderRole role) {
  switch (role) {
    case ContenderRole::given: return "given";
    case ContenderRole::equal_parameters: return "equal_parameters";
    case ContenderRole::equal_decode_cost: return "equal_decode_cost";
  }
  return "?";
}

std::string sizes_name(const ModelConfig& config) {
  std::string layers = config.arch == Arch::decoder
                           ? fmt::format("{}", config.layers())
                           : fmt::format("{}+{}", config.n_encoder_layers, config.n_decoder_layers);
  bool one = config.arch == Arch::double_decoder && config.memory_kv == MemoryKv::one_for_all;
  std::string_view name = is_mu(config) ? "mu" : is_llama(config) ? "llama" : arch_name(config.arch);
  return fmt::format("{} {}{}", name, layers, one ? ", one_for_all" : "");
}

int64_t non_embedding_parameters(const ModelConfig& config) {
  ModelConfig small = config;
  small.vocab_size = 16;
  small.max_seq_len = 16;
  small.bos_id = small.eos_id = small.sentinel_start = -1;
  small.n_sentinels = 0;
  return make_model(small, Precision::float32(), ParameterStore::Gradients::none, "model")->non_embedding_parameters();
}

std::vector<Contender> family_of(const Contender& given, int64_t max_seq_len) {
  const int64_t wanted = non_embedding_parameters(given.config);
  std::vector<Contender> family;
  auto add = [&](ContenderRole role, auto&& change) {
    Contender rival = given;
    rival.role = role;
    rival.folder.clear();
    rival.config.max_seq_len = max_seq_len;
    if (given.config.arch == Arch::decoder) drop_conventions(rival.config);
    try {
      change(rival.config);
      // Of an architecture that does not exist in these sizes the name is all there is.
      rival.name = sizes_name(rival.config);
      non_embedding_parameters(rival.config);
      if (role == ContenderRole::equal_parameters) fit_parameters(rival.config, wanted);
    } catch (const InputError& e) {
      rival.refusal = e.what();
    }
    if (rival.name == sizes_name(given.config)) rival = given;
    family.push_back(std::move(rival));
  };
  ModelConfig any;
  FieldList fields;
  list_fields(fields, any);
  for (const std::string& name : fields.choices("arch")) {
    fields.set_text("arch", name, "model");
    const Arch arch = any.arch;
    add(ContenderRole::equal_parameters, [&](ModelConfig& config) { become(config, arch); });
    if (arch == Arch::encoder_decoder) add(ContenderRole::equal_parameters, become_mu);
    if (arch == Arch::double_decoder && given.config.memory_kv != MemoryKv::one_for_all) {
      add(ContenderRole::equal_parameters, [&](ModelConfig& config) {
        become(config, arch);
        config.memory_kv = MemoryKv::one_for_all;
      });
    }
    if (arch == Arch::decoder) add(ContenderRole::equal_parameters, become_llama);
    if (arch == Arch::decoder && given.config.n_encoder_layers > 0) {
      add(ContenderRole::equal_decode_cost, [&](ModelConfig& config) {
        become(config, arch);
        config.n_encoder_layers = 0;
      });
    }
  }
  return family;
}

}  // namespace tandem
