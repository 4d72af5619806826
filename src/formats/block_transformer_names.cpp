#include "formats/block_transformer_names.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace tandem {
namespace {

using Layout = BlockTransformerSource::Layout;

struct Part {
  std::string_view ours;
  std::vector<std::string_view> theirs;
  Layout layout = Layout::rows;
};

const std::vector<Part>& whole_names() {
  static const std::vector<Part> parts{
      {"embedder.positions", {"embedder.embeddings.position_embeddings"}},
      {"embedder.type", {"embedder.embeddings.token_type_embeddings"}},
      {"embedder.norm", {"embedder.embeddings.LayerNorm"}},
      {"embedder.projection", {"embedder.projection_layer"}, Layout::taps_last},
      {"block_decoder.norm", {"block_decoder.gpt_neox.final_layer_norm"}},
      {"expansion", {"token_decoder.expansion_layer"}, Layout::taps_last},
      {"output", {"token_decoder.embed_out"}},
  };
  return parts;
}

const std::vector<Part>& neox_parts() {
  static const std::vector<Part> parts{
      {"norm1", {"input_layernorm"}},
      {"norm2", {"post_attention_layernorm"}},
      {"attention.qkv", {"attention.query_key_value"}, Layout::by_head},
      {"attention.out", {"attention.dense"}},
      {"mlp.up", {"mlp.dense_h_to_4h"}},
      {"mlp.down", {"mlp.dense_4h_to_h"}},
  };
  return parts;
}

const std::vector<Part>& roberta_parts() {
  static const std::vector<Part> parts{
      {"attention.qkv", {"attention.self.query", "attention.self.key", "attention.self.value"}},
      {"attention.out", {"attention.output.dense"}},
      {"norm1", {"attention.output.LayerNorm"}},
      {"mlp.up", {"intermediate.dense"}},
      {"mlp.down", {"output.dense"}},
      {"norm2", {"output.LayerNorm"}},
  };
  return parts;
}

const std::vector<Part>& t5_parts() {
  static const std::vector<Part> parts{
      {"norm1", {"layer.0.layer_norm"}},
      {"attention.qkv", {"layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v"}},
      {"attention.out", {"layer.0.SelfAttention.o"}},
      {"norm2", {"layer.1.layer_norm"}},
      {"cross_attention.q", {"layer.1.EncDecAttention.q"}},
      {"cross_attention.kv", {"layer.1.EncDecAttention.k", "layer.1.EncDecAttention.v"}},
      {"cross_attention.out", {"layer.1.EncDecAttention.o"}},
      {"norm3", {"layer.2.layer_norm"}},
      {"mlp.up", {"layer.2.DenseReluDense.wi"}},
      {"mlp.down", {"layer.2.DenseReluDense.wo"}},
  };
  return parts;
}

struct Stack {
  std::string_view ours;
  std::string_view theirs;
  const std::vector<Part>& parts;
};

// `name` without its ending, by the list; an empty source when it is not there.
BlockTransformerSource lookup(std::string_view name, const std::vector<Part>& parts, const std::string& prefix) {
  for (const Part& part : parts) {
    if (!name.starts_with(part.ours) || name.size() <= part.ours.size() || name[part.ours.size()] != '.') continue;
    BlockTransformerSource source{{}, part.layout};
    std::string ending(name.substr(part.ours.size()));
    if (ending == ".bias" && source.layout == Layout::taps_last) source.layout = Layout::rows;
    for (std::string_view theirs : part.theirs) source.names.push_back(prefix + std::string(theirs) + ending);
    return source;
  }
  return {};
}

[[noreturn]] void refuse(const std::string& where, const Tensor& got, const std::string& expected) {
  throw InputError({.what = "tensor does not fit the model",
                    .where = where,
                    .got = fmt::format("{} {}", dtype_name(got.dtype), got.shape.text()),
                    .expected = "float32 " + expected});
}

}  // namespace

BlockTransformerSource block_transformer_source(std::string_view ours, const BlockTransformerModules& modules) {
  const bool t5 = modules.t5;
  const std::array<Stack, 3> stacks{{
      {"embedder.layers.", "embedder.encoder.layer.", roberta_parts()},
      {"block_decoder.layers.", "block_decoder.gpt_neox.layers.", neox_parts()},
      {"token_decoder.layers.", t5 ? "token_decoder.decoder.block." : "token_decoder.gpt_neox.layers.",
       t5 ? t5_parts() : neox_parts()},
  }};
  for (const Stack& stack : stacks) {
    if (!ours.starts_with(stack.ours)) continue;
    std::string_view rest = ours.substr(stack.ours.size());
    size_t dot = rest.find('.');
    std::string prefix = std::string(stack.theirs) + std::string(rest.substr(0, dot + 1));
    return lookup(rest.substr(dot + 1), stack.parts, prefix);
  }
  if (ours == "embedder.embedding.weight") {
    return {{modules.lookup ? "embedder.embeddings.weight" : "embedder.embeddings.word_embeddings.weight"}};
  }
  if (ours == "token_decoder.embedding.weight") {
    return {{t5 ? "token_decoder.shared.weight" : "token_decoder.gpt_neox.embed_in.weight"}};
  }
  if (ours == "token_decoder.position_bias") {
    return {{"token_decoder.decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"}};
  }
  if (ours.starts_with("token_decoder.norm.")) {
    std::string ending(ours.substr(std::string_view("token_decoder.norm").size()));
    return {{(t5 ? "token_decoder.decoder.final_layer_norm" : "token_decoder.gpt_neox.final_layer_norm") + ending}};
  }
  return lookup(ours, whole_names(), "");
}

bool block_transformer_ignores(std::string_view theirs) {
  return theirs == "block_decoder.gpt_neox.embed_in.weight" || theirs == "token_decoder.lm_head.weight" ||
         theirs == "token_decoder.decoder.embed_tokens.weight";
}

Storage from_block_transformer(const BlockTransformerSource& source, std::span<const Tensor> theirs, const Shape& ours,
                               int64_t heads, const std::string& where) {
  Storage out(DType::f32, ours);
  Tensor to = out.tensor();
  int64_t columns = to.row_size(), row = 0;
  for (const Tensor& t : theirs) {
    bool taps = source.layout == Layout::taps_last;
    bool fits = t.dtype == DType::f32 && t.shape.rank() == (taps ? 3 : ours.rank()) && t.row_size() == columns &&
                row + t.rows() <= to.rows();
    if (!fits) refuse(where, t, fmt::format("of {} rows of {}", to.rows() - row, columns));
    int64_t tap_count = taps ? t.shape[2] : 1;
    for (int64_t r = 0; r < t.rows(); ++r, ++row) {
      for (int64_t i = 0; i < columns; ++i) {
        // Theirs: input by input, tap by tap; ours: tap by tap, input by input.
        int64_t from = taps ? i % (columns / tap_count) * tap_count + i / (columns / tap_count) : i;
        int64_t from_row = r;
        if (source.layout == Layout::by_head) {
          // Ours: all queries, all keys, all values.
          int64_t size = to.rows() / (3 * heads), kind = r / (heads * size), head = r / size % heads;
          from_row = (head * 3 + kind) * size + r % size;
        }
        store_element(to, row, i, load_element(t, from_row, from));
      }
    }
  }
  if (row != to.rows()) refuse(where, theirs.back(), fmt::format("{} in all", ours.text()));
  return out;
}

}  // namespace tandem
