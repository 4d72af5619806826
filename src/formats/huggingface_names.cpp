#include "formats/huggingface_names.h"

#include <array>

namespace tandem {
namespace {

struct Part {
  std::string_view ours;
  std::array<std::string_view, 3> theirs;
};

constexpr std::array<Part, 3> kWhole{{
    {"embedding.weight", {"model.embed_tokens.weight"}},
    {"output_norm.weight", {"model.norm.weight"}},
    {"output.weight", {"lm_head.weight"}},
}};

// What stands behind "layers.N." of ours and "model.layers.N." of theirs.
constexpr std::array<Part, 7> kLayer{{
    {"norm1.weight", {"input_layernorm.weight"}},
    {"norm2.weight", {"post_attention_layernorm.weight"}},
    {"attention.qkv.weight", {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"}},
    {"attention.qkv.bias", {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"}},
    {"attention.out.weight", {"self_attn.o_proj.weight"}},
    {"mlp.up.weight", {"mlp.gate_proj.weight", "mlp.up_proj.weight"}},
    {"mlp.down.weight", {"mlp.down_proj.weight"}},
}};

std::vector<std::string> with_prefix(std::string_view prefix, const Part& part) {
  std::vector<std::string> names;
  for (std::string_view theirs : part.theirs) {
    if (!theirs.empty()) names.push_back(std::string(prefix) + std::string(theirs));
  }
  return names;
}

}  // namespace

std::vector<std::string> huggingface_parameter_names(std::string_view ours) {
  for (const Part& part : kWhole) {
    if (ours == part.ours) return with_prefix("", part);
  }
  constexpr std::string_view kLayers = "layers.";
  if (!ours.starts_with(kLayers)) return {};
  size_t dot = ours.find('.', kLayers.size());
  if (dot == std::string_view::npos) return {};
  for (const Part& part : kLayer) {
    if (ours.substr(dot + 1) == part.ours) {
      return with_prefix("model." + std::string(ours.substr(0, dot + 1)), part);
    }
  }
  return {};
}

bool huggingface_ignores(std::string_view theirs) { return theirs.ends_with(".rotary_emb.inv_freq"); }

}  // namespace tandem
