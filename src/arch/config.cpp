#include "arch/config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace tandem {
namespace {

template <class T>
void require(bool holds, const std::string& where, const char* field, T got, const std::string& expected) {
  if (holds) return;
  throw InputError({.what = fmt::format("model size does not fit: '{}'", field),
                    .where = where,
                    .got = fmt::format("{}", got),
                    .expected = expected});
}

// Conventions that not every architecture has.
void check_conventions(const ModelConfig& c, const std::string& where) {
  auto only = [&](const char* field, bool unusual, const std::string& got, const std::string& expected) {
    require(!unusual, where, field, got, fmt::format("{}, where arch = {}", expected, arch_name(c.arch)));
  };
  bool two_stacks = c.arch == Arch::encoder_decoder;
  // A block transformer's norms are its authors'.
  only("output_norm", c.arch == Arch::block_transformer && c.output_norm != OutputNorm::layernorm, "rmsnorm",
       "layernorm");
  only("biases", c.biases && !two_stacks, "true", "false");
  bool decoder = c.arch == Arch::decoder;
  only("qkv_biases", c.qkv_biases && !decoder, "true", "false");
  only("tied_output", !c.tied_output && !decoder, "false", "true");
  only("rope_scaling.kind", c.rope_scaling.kind != kernels::RopeScaling::Kind::none && !decoder, "linear or llama3",
       "none");
  only("cross_rope", !c.cross_rope && !two_stacks, "false", "true");
  require(c.rope_ntk_factor >= 1 && std::isfinite(c.rope_ntk_factor), where, "rope_ntk_factor", c.rope_ntk_factor,
          "1 (no NTK) or more");
  only("rope_ntk_factor", c.rope_ntk_factor > 1 && !two_stacks, fmt::format("{}", c.rope_ntk_factor), "1");
  require(c.rope_ntk_length >= 0, where, "rope_ntk_length", c.rope_ntk_length, "0 (max_seq_len) or more");
  if (c.rope_ntk_factor <= 1) return;
  require(c.head_size() > 2, where, "rope_ntk_factor", c.rope_ntk_factor, "1, where head_dim is 2");
  // What was read has one length, what is written another, which its positions have to tell.
  require(c.decoder_positions == DecoderPositions::from_zero, where, "decoder_positions", "after_prompt",
          "from_zero, where rope_ntk_factor is more than 1");
  require(!c.cross_rope, where, "rope_ntk_factor", c.rope_ntk_factor, "1, where cross_rope = true");
}

}  // namespace

std::string_view arch_name(Arch arch) {
  switch (arch) {
    case Arch::decoder: return "decoder";
    case Arch::double_decoder: return "double_decoder";
    case Arch::encoder_decoder: return "encoder_decoder";
    case Arch::yoco: return "yoco";
    case Arch::block_transformer: return "block_transformer";
  }
  return "?";
}

std::string_view objective_name(Objective objective) {
  switch (objective) {
    case Objective::text: return "text";
    case Objective::prefix_lm: return "prefix_lm";
    case Objective::span_corruption: return "span_corruption";
    case Objective::conversation: return "conversation";
  }
  return "?";
}

bool learns(Arch arch, Objective objective) {
  // A bidirectional encoder sees what plain next-token prediction asks for; the others have no sentinels.
  if (objective == Objective::text) return arch != Arch::encoder_decoder;
  if (objective == Objective::span_corruption) return arch == Arch::encoder_decoder;
  return true;
}

std::string objectives_of(Arch arch) {
  std::string names;
  for (Objective o : {Objective::text, Objective::prefix_lm, Objective::span_corruption, Objective::conversation}) {
    if (learns(arch, o)) names += fmt::format("{}{}", names.empty() ? "" : " | ", objective_name(o));
  }
  return names;
}

Objective default_objective(Arch arch) {
  return learns(arch, Objective::text) ? Objective::text : Objective::span_corruption;
}

Objective plain_objective(Arch arch) { return learns(arch, Objective::text) ? Objective::text : Objective::prefix_lm; }

void ModelConfig::fit_tokenizer(int64_t tokens) {
  int64_t needed = tokens;
  if (arch == Arch::encoder_decoder && n_sentinels > 0) {
    if (sentinel_start < 0) sentinel_start = tokens;
    needed = std::max(tokens, sentinel_start + n_sentinels);
  }
  if (vocab_size == 0) vocab_size = needed;
  if (vocab_size >= needed) return;
  throw InputError({.what = "vocabulary of the model is too small for the tokenizer",
                    .where = "model.vocab_size",
                    .got = fmt::format("{}", vocab_size),
                    .expected = needed == tokens
                                    ? fmt::format("at least {}, or 0 to take the tokenizer's", tokens)
                                    : fmt::format("at least {} with {} sentinels, or 0", needed, n_sentinels)});
}

double ModelConfig::attention_scale(int64_t size_of_head) const {
  auto size = static_cast<double>(size_of_head);
  if (mup_base_head_dim > 0) return std::sqrt(static_cast<double>(mup_base_head_dim)) / size;
  return 1.0 / std::sqrt(size);
}

double ModelConfig::logit_multiplier() const {
  double ratio = matrix_rate_factor();
  // T5's, with its tied output matrix.
  bool t5 = arch == Arch::block_transformer && block.token_decoder == TokenDecoder::cross_attention;
  if (t5) return std::sqrt(ratio) / std::sqrt(static_cast<double>(block_sizes(*this).token_dim));
  bool untied = arch == Arch::yoco || arch == Arch::block_transformer || (arch == Arch::decoder && !tied_output);
  return untied ? ratio : std::sqrt(ratio);
}

double ModelConfig::rope_base_at(int64_t length) const {
  if (rope_ntk_factor <= 1 || length <= ntk_length()) return rope_base;
  auto d = static_cast<double>(head_size());
  double ratio = static_cast<double>(length) / static_cast<double>(ntk_length());
  return rope_base * std::pow(rope_ntk_factor * ratio - (rope_ntk_factor - 1), d / (d - 2));
}

double ModelConfig::embedding_scale() const {
  return std::sqrt(static_cast<double>(mup_base_dim > 0 ? mup_base_dim : dim));
}

double ModelConfig::matrix_rate_factor() const {
  return mup_base_dim > 0 ? static_cast<double>(mup_base_dim) / static_cast<double>(dim) : 1.0;
}

void ModelConfig::validate(const std::string& where) const {
  constexpr int64_t kMost = int64_t{1} << 24;
  auto positive = [&](const char* field, int64_t value, int64_t most) {
    require(value >= 1 && value <= most, where, field, value, fmt::format("1..{}", most));
  };
  positive("vocab_size", vocab_size, kMost);
  positive("dim", dim, 1 << 17);
  positive("n_heads", n_heads, 1 << 12);
  positive("max_seq_len", max_seq_len, kMost);
  require(n_kv_heads >= 0 && n_heads % kv_heads() == 0, where, "n_kv_heads", n_kv_heads,
          fmt::format("a divisor of n_heads = {}", n_heads));
  require(head_dim >= 0, where, "head_dim", head_dim, "0 (dim / n_heads) or more");
  require(head_dim > 0 || dim % n_heads == 0, where, "dim", dim, fmt::format("a multiple of n_heads = {}", n_heads));
  positive("head_dim", head_size(), 256);
  require(head_size() % 2 == 0, where, "head_dim", head_size(), "an even number, since RoPE turns pairs");
  positive("mlp_dim", mlp_size(), kMost);
  require(n_encoder_layers >= 0 && n_encoder_layers <= 4096, where, "n_encoder_layers", n_encoder_layers, "0..4096");
  require(n_decoder_layers >= 0 && n_decoder_layers <= 4096, where, "n_decoder_layers", n_decoder_layers, "0..4096");
  positive("n_decoder_layers", arch == Arch::decoder ? layers() : n_decoder_layers, 8192);
  if (arch != Arch::decoder) positive("n_encoder_layers", n_encoder_layers, 4096);
  bool self_heads_matter = arch == Arch::yoco || n_self_heads != 0;
  require(!self_heads_matter || (n_self_heads >= 0 && dim % std::max<int64_t>(1, self_heads()) == 0), where,
          "n_self_heads", n_self_heads, fmt::format("0 (n_heads) or a divisor of dim = {}", dim));
  if (arch == Arch::yoco) {
    positive("n_self_heads", self_heads(), 1 << 12);
    require(self_head_size() % 2 == 0 && self_head_size() <= 256, where, "n_self_heads", n_self_heads,
            fmt::format("heads of an even number of features, at most 256, where dim = {}", dim));
  }
  positive("window", window, kMost);
  require(decay_divisor > 0 && std::isfinite(decay_divisor), where, "decay_divisor", decay_divisor, "more than 0");
  require(max_blocks >= 3 && max_blocks <= kMost, where, "max_blocks", max_blocks, fmt::format("3..{}", kMost));
  PromptLengths::parse(prompt_lengths, where);
  require(boundaries.kind != BoundaryKind::prompt_style || !prompt_lengths.empty(), where, "prompt_lengths", "none",
          "lengths of prompts for boundaries = prompt_style to draw from");
  require(noise_density > 0 && noise_density < 1, where, "noise_density", noise_density, "between 0 and 1");
  require(mean_span_length >= 1 && mean_span_length <= 100, where, "mean_span_length", mean_span_length, "1..100");
  require(n_sentinels >= 0 && n_sentinels <= kMost, where, "n_sentinels", n_sentinels, fmt::format("0..{}", kMost));
  auto token = [&](const char* field, int64_t id, int64_t count) {
    require(id >= -1 && id + count <= vocab_size, where, field, id,
            fmt::format("-1 or ids below vocab_size = {}", vocab_size));
  };
  bool sentinels = arch == Arch::encoder_decoder && sentinel_start >= 0;
  token("sentinel_start", sentinel_start, sentinels ? n_sentinels : 0);
  token("bos_id", bos_id, 1);
  token("eos_id", eos_id, 1);
  require(mup_base_dim >= 0, where, "mup_base_dim", mup_base_dim, "0 (no muP) or more");
  require(mup_base_head_dim >= 0, where, "mup_base_head_dim", mup_base_head_dim, "0 or more");
  require(rope_base > 1 && std::isfinite(rope_base), where, "rope_base", rope_base, "more than 1");
  require(rope_scaling.factor > 0 && std::isfinite(rope_scaling.factor), where, "rope_scaling.factor",
          rope_scaling.factor, "more than 0");
  require(rope_scaling.low_turns > 0 && std::isfinite(rope_scaling.low_turns), where, "rope_scaling.low_turns",
          rope_scaling.low_turns, "more than 0");
  require(rope_scaling.high_turns > rope_scaling.low_turns && std::isfinite(rope_scaling.high_turns), where,
          "rope_scaling.high_turns", rope_scaling.high_turns,
          fmt::format("more than low_turns = {}", rope_scaling.low_turns));
  require(rope_scaling.original_length >= 1 && rope_scaling.original_length <= kMost, where,
          "rope_scaling.original_length", rope_scaling.original_length, fmt::format("1..{}", kMost));
  require(norm_eps >= 0 && std::isfinite(norm_eps), where, "norm_eps", norm_eps, "0 or more");
  require(output_norm_eps >= 0 && std::isfinite(output_norm_eps), where, "output_norm_eps", output_norm_eps,
          "0 or more");
  check_conventions(*this, where);
  if (arch != Arch::block_transformer) return;
  check_block_config(*this, [&](const char* field, const std::string& got, const std::string& expected) {
    require(false, where, field, got, expected);
  });
}

void list_fields(FieldList& fields, ModelConfig& config) {
  fields.add_enum<Arch>("arch", config.arch,
                        {{"double_decoder", Arch::double_decoder},
                         {"decoder", Arch::decoder},
                         {"encoder_decoder", Arch::encoder_decoder},
                         {"yoco", Arch::yoco},
                         {"block_transformer", Arch::block_transformer}},
                        "architecture");
  fields.add("vocab_size", config.vocab_size, "number of token ids");
  fields.add("dim", config.dim, "width of the residual stream");
  fields.add("n_heads", config.n_heads, "query heads");
  fields.add("n_kv_heads", config.n_kv_heads, "key and value heads; 0: n_heads");
  fields.add("head_dim", config.head_dim, "features per head; 0: dim / n_heads");
  fields.add("n_encoder_layers", config.n_encoder_layers,
             "encoder layers; of a YOCO model the lower half; decoder-only adds them to its own");
  fields.add("n_decoder_layers", config.n_decoder_layers, "decoder layers");
  fields.add("mlp_dim", config.mlp_dim, "hidden width of the MLPs; 0: 4 * dim");
  fields.add("max_seq_len", config.max_seq_len, "longest sequence; training rows have this length");
  fields.add("rope_base", config.rope_base, "base of the rotary angles");
  fields.add_enum<kernels::RopePairs>(
      "rope_pairs", config.rope_pairs,
      {{"adjacent", kernels::RopePairs::adjacent}, {"half_split", kernels::RopePairs::half_split}},
      "which features turn together");
  fields.add("rope_ntk_factor", config.rope_ntk_factor,
             "dynamic NTK of an encoder-decoder: above 1 the rotary base grows beyond rope_ntk_length tokens; 1: off");
  fields.add("rope_ntk_length", config.rope_ntk_length, "tokens up to which it is rope_base; 0: max_seq_len");
  fields.add_enum<MlpKind>("mlp", config.mlp, {{"gelu", MlpKind::gelu}, {"swiglu", MlpKind::swiglu}},
                           "MLPs of the layers: GELU, or SwiGLU with a third matrix (a YOCO model always has it)");
  fields.add_enum<kernels::GeluKind>("activation", config.activation,
                                     {{"gelu_tanh", kernels::GeluKind::tanh}, {"gelu_erf", kernels::GeluKind::erf}},
                                     "GELU of the MLPs");
  fields.add("norm_eps", config.norm_eps, "eps of the RMSNorms inside layers");
  fields.add_enum<OutputNorm>("output_norm", config.output_norm,
                              {{"layernorm", OutputNorm::layernorm}, {"rmsnorm", OutputNorm::rmsnorm}},
                              "norm after the encoder and the last layer (a YOCO model has RMSNorms anyway)");
  fields.add("output_norm_eps", config.output_norm_eps, "eps of the norms after the encoder and the last layer");
  fields.add("biases", config.biases, "of the matrices in an encoder-decoder's layers");
  fields.add("qkv_biases", config.qkv_biases, "of the queries, keys and values of a decoder alone (Qwen2)");
  fields.add("cross_rope", config.cross_rope, "whether positions turn an encoder-decoder's cross-attention");
  fields.add_enum<MemoryKv>(
      "memory_kv", config.memory_kv,
      {{"per_layer_shared", MemoryKv::per_layer_shared},
       {"per_layer", MemoryKv::per_layer},
       {"one_for_all", MemoryKv::one_for_all}},
      "key/value projection of the encoder's output: the layer's own one, a second one per layer, or one for all");
  fields.add("tied_output", config.tied_output, "false: the output matrix of a decoder is not its embedding");
  fields.add("logit_biases", config.logit_biases, "gate between own block and encoder instead of one softmax");
  fields.add_enum<SelfDecoder>(
      "self_decoder", config.self_decoder,
      {{"gated_retention", SelfDecoder::gated_retention}, {"sliding_window", SelfDecoder::sliding_window}},
      "how the lower half of a YOCO model mixes tokens");
  fields.add("n_self_heads", config.n_self_heads, "heads of a YOCO model's lower half; 0: n_heads");
  fields.add("window", config.window, "self_decoder = sliding_window: latest tokens that a token sees");
  fields.add("decay_divisor", config.decay_divisor, "self_decoder = gated_retention: divisor of the log decays");
  fields.add_form("boundaries",
                  {.form = BoundaryStrategy::forms(),
                   .text = [&config] { return config.boundaries.text(); },
                   .assign = [&config](std::string_view text) { return config.boundaries.parse(text); }},
                  "where blocks open in training");
  fields.add("max_blocks", config.max_blocks, "boundaries = random_uniform, logspace: most blocks of a row");
  fields.add("prompt_lengths", config.prompt_lengths, "boundaries = prompt_style: lengths to draw from, LENGTH:COUNT");
  fields.add_enum<DecoderPositions>(
      "decoder_positions", config.decoder_positions,
      {{"from_zero", DecoderPositions::from_zero}, {"after_prompt", DecoderPositions::after_prompt}},
      "where an encoder-decoder's decoder counts from, except in span corruption");
  fields.add("noise_density", config.noise_density, "span corruption: share of the tokens that is replaced");
  fields.add("mean_span_length", config.mean_span_length, "span corruption: mean length of what is replaced");
  fields.add("sentinel_start", config.sentinel_start, "first sentinel of an encoder-decoder; -1: behind the tokenizer");
  fields.add("n_sentinels", config.n_sentinels, "sentinels of an encoder-decoder");
  fields.add("bos_id", config.bos_id, "token that begins a text; -1: the run takes the tokenizer's");
  fields.add("eos_id", config.eos_id, "token that ends a text; -1: the run takes the tokenizer's");
  fields.add("mup_base_dim", config.mup_base_dim, "width at which muP leaves rates as they are; 0: no muP");
  fields.add("mup_base_head_dim", config.mup_base_head_dim, "head size whose scale muP keeps; 0: 1/sqrt(head_dim)");
  fields.group("rope_scaling", [&](FieldList& group) {
    using Kind = kernels::RopeScaling::Kind;
    kernels::RopeScaling& s = config.rope_scaling;
    group.add_enum<Kind>("kind", s.kind, {{"none", Kind::none}, {"linear", Kind::linear}, {"llama3", Kind::llama3}},
                         "rotary frequencies that were changed for longer rows: all alike, or as Llama 3.1 has them");
    group.add("factor", s.factor, "what slow frequencies are divided by");
    group.add("low_turns", s.low_turns, "llama3: slow is what turns less often in original_length");
    group.add("high_turns", s.high_turns, "llama3: what turns more often stays");
    group.add("original_length", s.original_length, "llama3: length of the rows before");
  });
  // Last: in a file a table of its own stands behind the fields of the table around it.
  fields.group("block", [&](FieldList& group) { list_fields(group, config.block); });
}

}  // namespace tandem
