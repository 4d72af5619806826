#include "formats/authors_names.h"

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

std::string authors_parameter_name(std::string_view ours, AuthorsModel model) {
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

}  // namespace tandem
