#include "formats/authors_names.h"

#include <algorithm>
#include <array>

namespace tandem {
namespace {

struct Ending {
  std::string_view ours;
  std::string_view theirs;
};

constexpr std::array<Ending, 8> kCommon{{
    {".attention.qkv.weight", ".self_attn.qkv.weight"},
    {".mlp.up.weight", ".mlp.0.weight"},
    {".mlp.down.weight", ".mlp.2.weight"},
    {".cross_attention.q.weight", ".cross_attn.q_proj.weight"},
    {".cross_attention.kv.weight", ".cross_attn.kv_proj.weight"},
    {".cross_attention.out.weight", ".cross_attn.out_proj.weight"},
    {".attention.gate_bias", ".combo_attn.logit_bias_proj"},
    {".attention.gate_temperature", ".combo_attn.mix_temp"},
}};
constexpr std::array<Ending, 3> kJoint{{
    {".attention.q.weight", ".combo_attn.q_proj.weight"},
    {".attention.out.weight", ".combo_attn.out_proj.weight"},
    {".attention.memory_kv.weight", ".combo_attn.enc_kv_proj.weight"},
}};

std::string with_ending(std::string_view name, const Ending& ending) {
  std::string out(name.substr(0, name.size() - ending.ours.size()));
  out += ending.theirs;
  return out;
}

}  // namespace

namespace {

std::string double_decoder_name(std::string_view ours, AuthorsModel model) {
  for (const Ending& ending : kCommon) {
    if (ours.ends_with(ending.ours)) return with_ending(ours, ending);
  }
  bool separate_memory_kv = model == AuthorsModel::double_decoder_separate_kv;
  if (ours.starts_with("decoder_layers.") && model != AuthorsModel::encoder_decoder) {
    for (const Ending& ending : kJoint) {
      if (ours.ends_with(ending.ours)) return with_ending(ours, ending);
    }
    Ending own_kv{".attention.kv.weight",
                  separate_memory_kv ? ".combo_attn.dec_kv_proj.weight" : ".combo_attn.kv_proj.weight"};
    if (ours.ends_with(own_kv.ours)) return with_ending(ours, own_kv);
  }
  Ending out_projection{".attention.out.weight", ".self_attn.out_proj.weight"};
  if (ours.ends_with(out_projection.ours)) return with_ending(ours, out_projection);
  return std::string(ours);
}

// What stands behind "encoder_layers.N" and "decoder_layers.N", and the authors' parameters.
struct LayerParts {
  std::string_view ours;
  std::array<std::string_view, 4> theirs;
};
constexpr std::array<LayerParts, 11> kYocoLayer{{
    {".norm1.weight", {".mixer_layer_norm"}},
    {".norm2.weight", {".final_layer_norm"}},
    {".attention.qkv.weight", {".mixer.q_proj", ".mixer.k_proj", ".mixer.v_proj"}},
    {".attention.out.weight", {".mixer.out_proj"}},
    {".retention.qkvg.weight", {".mixer.q_proj", ".mixer.k_proj", ".mixer.v_proj", ".mixer.g_proj"}},
    {".retention.decay.weight", {".mixer.gt_proj"}},
    {".retention.out.weight", {".mixer.out_proj"}},
    {".cross_attention.q.weight", {".mixer.q_proj"}},
    {".cross_attention.out.weight", {".mixer.out_proj"}},
    {".mlp.up.weight", {".ffn.fc1", ".ffn.gate"}},
    {".mlp.down.weight", {".ffn.fc2"}},
}};

struct Whole {
  std::string_view ours;
  std::array<std::string_view, 2> theirs;
};
constexpr std::array<Whole, 5> kYocoModel{{
    {"embedding.weight", {"embed_tokens"}},
    {"kv_norm.weight", {"cross_decoder.kv_layer_norm"}},
    {"shared_kv.weight", {"cross_decoder.k_proj", "cross_decoder.v_proj"}},
    {"output_norm.weight", {"layer_norm"}},
    {"output.weight", {"output_projection"}},
}};

// "encoder_layers.3.rest" -> "self_decoder.layers.3"
std::string yoco_layer(std::string_view ours, std::string_view rest) {
  bool lower = ours.starts_with("encoder_layers.");
  std::string_view number = ours.substr(15, ours.size() - 15 - rest.size());  // both beginnings have 15 letters
  return std::string(lower ? "self_decoder.layers." : "cross_decoder.layers.").append(number);
}

template <class Parts>
std::vector<std::string> with_parts(const std::string& prefix, const Parts& theirs) {
  std::vector<std::string> names;
  for (std::string_view part : theirs) {
    if (!part.empty()) names.push_back(prefix + std::string(part) + ".weight");
  }
  return names;
}

std::vector<std::string> yoco_names(std::string_view ours) {
  for (const Whole& whole : kYocoModel) {
    if (ours == whole.ours) return with_parts("", whole.theirs);
  }
  for (const LayerParts& layer : kYocoLayer) {
    if (ours.ends_with(layer.ours)) return with_parts(yoco_layer(ours, layer.ours), layer.theirs);
  }
  return {std::string(ours)};
}

// Parts of Mu's layers, each with a weight and perhaps a bias. Encoder layers have no cross-attention.
constexpr std::array<LayerParts, 10> kMuLayer{{
    {".norm1", {".ln1"}},
    {".norm2", {".ln2"}},
    {".norm3", {".ln3"}},
    {".cross_attention.q", {".cross_attn.q_linear"}},
    {".cross_attention.kv", {".cross_attn.k_linear", ".cross_attn.v_linear"}},
    {".cross_attention.out", {".cross_attn.out_linear"}},
    {".attention.qkv", {".attn.q_linear", ".attn.k_linear", ".attn.v_linear"}},
    {".attention.out", {".attn.out_linear"}},
    {".mlp.up", {".mlp.fc1"}},
    {".mlp.down", {".mlp.fc2"}},
}};
constexpr std::array<Whole, 3> kMuModel{{
    {"embedding", {"wte"}},
    {"encoder_norm", {"ln_e"}},
    {"output_norm", {"ln_f"}},
}};

std::vector<std::string> mu_names(std::string_view ours) {
  constexpr std::string_view kTransformer = "transformer.";
  size_t dot = std::min(ours.rfind('.'), ours.size());
  std::string_view part = ours.substr(0, dot), ending = ours.substr(dot);  // ".weight" or ".bias"
  for (const Whole& whole : kMuModel) {
    if (part == whole.ours) return {std::string(kTransformer).append(whole.theirs[0]).append(ending)};
  }
  bool encoder = ours.starts_with("encoder_layers.");
  if (!encoder && !ours.starts_with("decoder_layers.")) return {std::string(ours)};
  for (const LayerParts& layer : kMuLayer) {
    if (!part.ends_with(layer.ours)) continue;
    std::string_view number = part.substr(15, part.size() - 15 - layer.ours.size());
    std::vector<std::string> names;
    for (std::string_view theirs : layer.theirs) {
      if (theirs.empty()) continue;
      std::string name = std::string(kTransformer).append(encoder ? "e." : "h.").append(number);
      bool causal = !encoder && theirs.starts_with(".attn.");
      name.append(causal ? ".causal_" : "").append(theirs.substr(causal ? 1 : 0)).append(ending);
      names.push_back(std::move(name));
    }
    return names;
  }
  return {std::string(ours)};
}

struct Activation {
  std::string_view ours;
  std::string_view theirs;
};
constexpr std::array<Activation, 4> kYocoActivations{{
    {"hidden.embed", "embeddings"},
    {"shared.k", "cross_decoder.key_rot"},
    {"shared.v", "cross_decoder.value"},
    {"hidden.out_norm", "final_norm"},
}};

// "hidden.enc.0" -> "encoder.0"
std::string mu_activation(std::string_view ours) {
  for (auto [name, theirs] : {Activation{"hidden.enc_norm", "encoder.ln_e"}, {"hidden.out_norm", "decoder.ln_f"}}) {
    if (ours == name) return std::string(theirs);
  }
  for (auto [beginning, theirs] : {Activation{"hidden.enc.", "encoder."}, {"hidden.dec.", "decoder."}}) {
    if (ours.starts_with(beginning)) return std::string(theirs).append(ours.substr(beginning.size()));
  }
  return std::string(ours);
}

}  // namespace

std::vector<std::string> authors_parameter_names(std::string_view ours, AuthorsModel model) {
  if (model == AuthorsModel::yoco) return yoco_names(ours);
  if (model == AuthorsModel::mu) return mu_names(ours);
  return {double_decoder_name(ours, model)};
}

std::string authors_activation_name(std::string_view ours, AuthorsModel model) {
  if (model == AuthorsModel::mu) return mu_activation(ours);
  if (model != AuthorsModel::yoco) return std::string(ours);
  for (const Activation& activation : kYocoActivations) {
    if (ours == activation.ours) return std::string(activation.theirs);
  }
  for (auto [beginning, theirs] :
       {Activation{"hidden.enc.", "self_decoder.layers."}, {"hidden.dec.", "cross_decoder.layers."}}) {
    if (ours.starts_with(beginning)) return std::string(theirs).append(ours.substr(beginning.size()));
  }
  return std::string(ours);
}

}  // namespace tandem
