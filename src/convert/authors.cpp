#include "convert/authors.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "formats/block_transformer_names.h"

namespace tandem {
namespace {

std::vector<ForeignPart> block_transformer_parts(const Parameter& p, const ModelConfig& config) {
  const BlockConfig& b = config.block;
  BlockTransformerSource source = block_transformer_source(
      p.name(), {b.embedder == BlockEmbedder::lookup, b.token_decoder == TokenDecoder::cross_attention});
  std::vector<ForeignPart> parts = parts_of(p, source.names);
  ForeignPart& first = parts.front();
  if (source.layout == BlockTransformerSource::Layout::by_head) {
    first.layout = ForeignPart::Layout::by_head;
    first.heads = p.name().starts_with("block_decoder.") ? config.n_heads : block_sizes(config).token_heads;
  }
  if (source.layout == BlockTransformerSource::Layout::taps_last) {
    int64_t inputs = p.name().starts_with("embedder.") ? block_sizes(config).embedder_dim : p.shape()[1];
    first.layout = ForeignPart::Layout::taps_last;
    first.shape = {p.shape()[0], inputs, p.shape()[1] / inputs};
  }
  return parts;
}

// Query heads in Mu's order (formats/head_order.h): of the rows that make queries, and of the columns that take what
// they found.
std::vector<ForeignPart> mu_parts(const Parameter& p, const ModelConfig& config) {
  const int64_t q = config.n_heads * config.head_size(), kv = config.kv_heads() * config.head_size();
  std::vector<std::string> names = authors_parameter_names(p.name(), AuthorsModel::mu);
  std::vector<ForeignPart> parts =
      parts_of(p, names, names.size() == 3 ? std::vector{q, kv, kv} : std::vector<int64_t>{});
  auto is = [&](std::string_view part) { return p.name().find(part) != std::string::npos; };
  ForeignPart& first = parts.front();
  if (is("attention.qkv.") || is("attention.q.")) first.layout = ForeignPart::Layout::tiled_rows;
  if (is("attention.out.weight")) first.layout = ForeignPart::Layout::tiled_columns;
  first.heads = config.n_heads;
  first.key_heads = config.kv_heads();
  return parts;
}

void check_authors_have(const ModelConfig& c, const std::string& where) {
  auto require = [&](bool holds, const char* field, const char* got, const char* expected) {
    if (holds) return;
    throw InputError({.what = fmt::format("model that the authors' code does not have: '{}'", field),
                      .where = where,
                      .got = got,
                      .expected = expected});
  };
  if (c.arch == Arch::yoco || c.arch == Arch::block_transformer) return;
  const bool mu = authors_model(c) == AuthorsModel::mu;
  require(mu == (c.output_norm == OutputNorm::rmsnorm), "output_norm", mu ? "layernorm" : "rmsnorm",
          mu ? "rmsnorm" : "layernorm");
  require(mu == c.biases, "biases", mu ? "false" : "true", mu ? "true" : "false");
  require(!c.qkv_biases, "qkv_biases", "true", "false");
  require(c.tied_output, "tied_output", "false", "true");
  require(c.mlp == MlpKind::gelu, "mlp", "swiglu", "gelu");
  require(c.memory_kv != MemoryKv::one_for_all, "memory_kv", "one_for_all", "per_layer_shared or per_layer");
}

}  // namespace

AuthorsModel authors_model(const ModelConfig& config) {
  switch (config.arch) {
    case Arch::encoder_decoder:
      // Of two stacks whose cross-attention knows no positions there is one kind of authors.
      return config.cross_rope ? AuthorsModel::encoder_decoder : AuthorsModel::mu;
    case Arch::yoco: return AuthorsModel::yoco;
    case Arch::block_transformer:
    case Arch::decoder:
    case Arch::double_decoder: break;
  }
  return config.memory_kv == MemoryKv::per_layer ? AuthorsModel::double_decoder_separate_kv
                                                 : AuthorsModel::double_decoder;
}

CheckpointMap authors_map(const ModelConfig& config, const std::string& where) {
  check_authors_have(config, where);
  if (config.arch == Arch::block_transformer) {
    return {[config](const Parameter& p) { return block_transformer_parts(p, config); }, block_transformer_ignores};
  }
  AuthorsModel model = authors_model(config);
  CheckpointMap map;
  if (model == AuthorsModel::mu) {
    map.parts = [config](const Parameter& p) { return mu_parts(p, config); };
    map.ignores = [](std::string_view name) { return name == "lm_head.weight"; };
    return map;
  }
  map.parts = [model](const Parameter& p) { return parts_of(p, authors_parameter_names(p.name(), model)); };
  // The second name of the tied matrix.
  if (config.arch != Arch::yoco) map.ignores = [](std::string_view name) { return name == "output_projection.weight"; };
  return map;
}

std::string authors_key(const ModelConfig& config) {
  if (config.arch == Arch::block_transformer) return "";
  switch (authors_model(config)) {
    case AuthorsModel::yoco: return "";  // as its load_ckpt takes it
    case AuthorsModel::mu: return "model_state_dict";
    case AuthorsModel::double_decoder:
    case AuthorsModel::double_decoder_separate_kv:
    case AuthorsModel::encoder_decoder: break;
  }
  return "state_dict";
}

std::vector<std::pair<std::string, std::string>> authors_aliases(const ModelConfig& config) {
  if (config.arch == Arch::yoco) return {};
  if (config.arch == Arch::block_transformer) {
    if (config.block.token_decoder != TokenDecoder::cross_attention) return {};
    return {{"token_decoder.lm_head.weight", "token_decoder.shared.weight"},
            {"token_decoder.decoder.embed_tokens.weight", "token_decoder.shared.weight"}};
  }
  if (authors_model(config) == AuthorsModel::mu) return {{"lm_head.weight", "transformer.wte.weight"}};
  return {{"output_projection.weight", "embedding.weight"}};
}

void enter_state_dict(ForeignTensors& tensors) {
  // The double decoder's scripts, Mu's, fairseq's of a YOCO model.
  for (std::string_view key : {"state_dict.", "model_state_dict.", "model.decoder.model.", "decoder.model."}) {
    if (tensors.enter(key)) break;
  }
  // Others' habit, unless it is the name of a module.
  for (std::string_view table : {"embedding.weight", "embed_tokens.weight", "transformer.wte.weight"}) {
    if (tensors.contains("model." + std::string(table)) && tensors.enter("model.")) break;
  }
  tensors.strip_wrappers();
}

namespace {

// Numbers and flags that a checkpoint says beside its tensors.
class Said {
 public:
  Said(const ForeignTensors& tensors, std::string prefix) : tensors_(tensors), prefix_(std::move(prefix)) {}
  bool has(const char* key) const { return !text(key).empty() && text(key) != "None"; }
  int64_t integer(const char* key, int64_t otherwise) const {
    if (!has(key)) return otherwise;
    std::string value = text(key);
    int64_t number = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) refuse(key, "an integer");
    return number;
  }
  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    std::string value = text(key);
    double number = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) refuse(key, "a number");
    return number;
  }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (text(key) != "true" && text(key) != "false") refuse(key, "true or false");
    return text(key) == "true";
  }

 private:
  std::string text(const char* key) const { return tensors_.said(prefix_ + key); }
  [[noreturn]] void refuse(const char* key, const char* expected) const {
    throw InputError({.what = fmt::format("bad '{}{}'", prefix_, key),
                      .where = tensors_.path().string(),
                      .got = text(key),
                      .expected = expected});
  }

  const ForeignTensors& tensors_;
  std::string prefix_;
};

// Arguments of Double_Decoder, StandardEncDec and DecoderOnlyModel; which of them it is the names of the tensors tell,
// as in the authors' own load_model().
ModelConfig double_decoder_config(const ForeignTensors& tensors, const Said& said) {
  ModelConfig c;
  const bool encoder = tensors.contains("encoder_layers.0.norm1.weight");
  const bool joint = tensors.contains("decoder_layers.0.combo_attn.q_proj.weight");
  c.arch = !encoder ? Arch::decoder : joint ? Arch::double_decoder : Arch::encoder_decoder;
  c.vocab_size = said.integer("vocab_size", tensors.shape("embedding.weight")[0]);
  c.dim = said.integer("dim", 256);
  c.n_heads = said.integer("num_heads", 8);
  c.n_encoder_layers = encoder ? said.integer("num_encoder_layers", 14) : 0;
  c.n_decoder_layers = encoder ? said.integer("num_decoder_layers", 7) : said.integer("num_layers", 12);
  c.mlp_dim = said.integer("mlp_dim", 0);
  c.max_seq_len = said.integer("seq_len", 2048);
  if (joint) c.memory_kv = said.flag("shared", true) ? MemoryKv::per_layer_shared : MemoryKv::per_layer;
  c.logit_biases = joint && said.flag("logit_biases", false);
  c.mup_base_dim = said.integer("mup_base_dim", 0);
  c.mup_base_head_dim = said.integer("mup_base_head_dim", 0);
  return c;
}

ModelConfig mu_config(const Said& said) {
  ModelConfig c;
  c.arch = Arch::encoder_decoder;
  c.vocab_size = said.integer("vocab_size", 0);
  c.dim = said.integer("n_embd", 0);
  c.n_heads = std::max<int64_t>(said.integer("n_head", 0), 1);
  c.n_kv_heads = said.integer("n_kv_head", 0);
  c.head_dim = said.integer("qkv_embd", 0) / c.n_heads;
  c.n_encoder_layers = said.integer("n_encoder_layer", 0);
  c.n_decoder_layers = said.integer("n_decoder_layer", 0);
  c.mlp_dim = said.integer("hidden_dim", 0);
  c.max_seq_len = said.integer("block_size", 0);
  c.rope_base = said.number("rope_theta", 10000);
  c.rope_ntk_factor = said.number("rope_factor", 1);
  c.rope_pairs = kernels::RopePairs::half_split;
  c.biases = true;
  c.cross_rope = false;
  c.output_norm = OutputNorm::rmsnorm;
  c.norm_eps = c.output_norm_eps = 1e-6;
  c.n_sentinels = 0;
  if (said.flag("is_interleaved", false)) {
    throw InputError({.what = "model whose key heads have another order",
                      .where = "model_config.is_interleaved",
                      .got = "true",
                      .expected = "false"});
  }
  return c;
}

}  // namespace

std::optional<ModelConfig> config_in_checkpoint(const ForeignTensors& tensors) {
  std::string where = tensors.path().string();
  Said hparams(tensors, "hparams."), mu(tensors, "model_config.");
  std::optional<ModelConfig> config;
  if (hparams.has("dim") && tensors.contains("embedding.weight")) config = double_decoder_config(tensors, hparams);
  if (mu.has("n_embd")) config = mu_config(mu);
  if (config) config->validate(where);
  return config;
}

}  // namespace tandem
