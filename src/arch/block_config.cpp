#include "arch/block_config.h"

#include <fmt/format.h>

#include "arch/config.h"

namespace tandem {
namespace {

int64_t or_default(int64_t value, int64_t otherwise) { return value > 0 ? value : otherwise; }

// The even number of features that turn.
int64_t turning(int64_t head_dim, double fraction) {
  return static_cast<int64_t>(static_cast<double>(head_dim) * fraction) / 2 * 2;
}

}  // namespace

void list_fields(FieldList& fields, BlockConfig& config) {
  fields.add("length", config.length, "block_transformer: tokens of a block");
  fields.add_enum<BlockEmbedder>(
      "embedder", config.embedder,
      {{"lookup", BlockEmbedder::lookup}, {"roberta", BlockEmbedder::roberta}, {"cls", BlockEmbedder::cls}},
      "how the tokens of a block become one vector");
  fields.add("embedder_dim", config.embedder_dim, "width of the embedder; 0: dim / length");
  fields.add("embedder_layers", config.embedder_layers, "layers of the roberta and cls embedders");
  fields.add("embedder_heads", config.embedder_heads, "their heads; 0: n_heads");
  fields.add("embedder_mlp_dim", config.embedder_mlp_dim, "hidden width of their MLPs; 0: 4 * embedder_dim");
  fields.add("cls_tokens", config.cls_tokens, "tokens that the cls embedder puts before a block");
  fields.add("embedder_pad_id", config.embedder_pad_id, "id to which they give no position; -1: none");
  fields.add("embedder_positions", config.embedder_positions,
             "rows of their table of positions; 0: what a block needs");
  fields.add_enum<TokenDecoder>("token_decoder", config.token_decoder,
                                {{"prefix", TokenDecoder::prefix},
                                 {"summation", TokenDecoder::summation},
                                 {"cross_attention", TokenDecoder::cross_attention}},
                                "how the token decoder takes the block decoder's output");
  fields.add("expansion", config.expansion, "vectors that it becomes; 0: 2 for a prefix, else length");
  fields.add("token_dim", config.token_dim, "width of the token decoder; 0: dim");
  fields.add("token_heads", config.token_heads, "its heads; 0: heads of the block decoder's size");
  fields.add("token_mlp_dim", config.token_mlp_dim, "hidden width of its MLPs; 0: 4 * token_dim");
  fields.add("rotary_fraction", config.rotary_fraction, "share of a head's features that turn with the position");
  fields.add("random_first_block", config.random_first_block, "documents begin at a random place of a block");
  fields.add("pad_to_block_end", config.pad_to_block_end, "documents end at the end of a block");
  fields.add("first_block_pads", config.first_block_pads, "pads before a sequence in generation; -1: length - 1");
  fields.add("pad_id", config.pad_id, "stands where a block has no token; -1: eos_id");
  fields.add("token_bos_id", config.token_bos_id, "opens a block that has no prefix; -1: bos_id");
  fields.add_enum<TokenPositions>(
      "positions", config.positions,
      {{"as_trained", TokenPositions::as_trained}, {"as_published", TokenPositions::as_published}},
      "token decoder's positions in generation; as_published: all prefix vectors at 0, as the authors' program has it");
}

BlockSizes block_sizes(const ModelConfig& config) {
  const BlockConfig& b = config.block;
  BlockSizes s{};
  s.length = b.length;
  s.first_pads = b.first_block_pads < 0 ? b.length - 1 : b.first_block_pads;
  s.pad_id = b.pad_id >= 0 ? b.pad_id : std::max<int64_t>(config.eos_id, 0);
  s.token_bos_id = b.token_bos_id >= 0 ? b.token_bos_id : std::max<int64_t>(config.bos_id, 0);
  bool prefix = b.token_decoder == TokenDecoder::prefix;
  s.expansion = or_default(b.expansion, prefix ? 2 : b.length);
  s.leading = prefix ? s.expansion : 1;
  s.embedder_dim = or_default(b.embedder_dim, config.dim / b.length);
  s.embedder_heads = or_default(b.embedder_heads, config.n_heads);
  s.embedder_mlp_dim = or_default(b.embedder_mlp_dim, 4 * s.embedder_dim);
  s.cls_tokens = b.embedder == BlockEmbedder::cls ? b.cls_tokens : 0;
  // RoBERTa's table begins with rows for padding and what stands before it.
  s.embedder_positions = or_default(b.embedder_positions, s.embedder_rows() + b.embedder_pad_id + 1);
  s.token_dim = or_default(b.token_dim, config.dim);
  s.token_heads = or_default(b.token_heads, std::max<int64_t>(s.token_dim / config.head_size(), 1));
  s.token_head_dim = s.token_dim / s.token_heads;
  s.token_mlp_dim = or_default(b.token_mlp_dim, 4 * s.token_dim);
  s.rotary_features = turning(config.head_size(), b.rotary_fraction);
  s.token_rotary_features = turning(s.token_head_dim, b.rotary_fraction);
  return s;
}

void check_block_config(const ModelConfig& config,
                        const std::function<void(const char*, const std::string&, const std::string&)>& fail) {
  const BlockConfig& b = config.block;
  auto number = [](auto value) { return fmt::format("{}", value); };
  auto within = [&](const char* field, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most) fail(field, number(value), fmt::format("{}..{}", least, most));
  };
  constexpr int64_t kMostLength = 32;  // so that the token decoder's rows of a block are one page of a cache
  within("block.length", b.length, 1, kMostLength);
  within("block.cls_tokens", b.cls_tokens, 1, kMostLength);
  within("block.expansion", b.expansion, 0, kMostLength);
  within("block.embedder_layers", b.embedder_layers, 0, 4096);
  within("block.first_block_pads", b.first_block_pads, -1, b.length - 1);
  constexpr int64_t kWidest = 1 << 17;
  for (auto [field, value] : {std::pair{"block.embedder_dim", b.embedder_dim},
                              {"block.embedder_heads", b.embedder_heads},
                              {"block.embedder_mlp_dim", b.embedder_mlp_dim},
                              {"block.embedder_positions", b.embedder_positions},
                              {"block.token_dim", b.token_dim},
                              {"block.token_heads", b.token_heads},
                              {"block.token_mlp_dim", b.token_mlp_dim}}) {
    within(field, value, 0, kWidest);
  }
  for (auto [field, id] : {std::pair{"block.embedder_pad_id", b.embedder_pad_id},
                           {"block.pad_id", b.pad_id},
                           {"block.token_bos_id", b.token_bos_id}}) {
    within(field, id, -1, config.vocab_size - 1);
  }
  if (!(b.rotary_fraction >= 0 && b.rotary_fraction <= 1)) {
    fail("block.rotary_fraction", number(b.rotary_fraction), "0..1");
  }
  if (config.n_kv_heads != 0 && config.n_kv_heads != config.n_heads) {
    fail("n_kv_heads", number(config.n_kv_heads), "as many as n_heads: a block_transformer has no grouped queries");
  }
  BlockSizes s = block_sizes(config);
  auto heads = [&](const char* field, int64_t dim, int64_t count) {
    if (dim >= 1 && count >= 1 && dim % count == 0 && dim / count % 2 == 0 && dim / count <= 192) return;
    fail(field, number(count), fmt::format("a divisor of {} that leaves heads of an even size up to 192", dim));
  };
  heads("block.token_heads", s.token_dim, s.token_heads);
  if (b.embedder == BlockEmbedder::lookup) {
    if (s.embedder_dim * s.length != config.dim) {
      fail("block.embedder_dim", number(s.embedder_dim),
           fmt::format("dim / length = {} / {}, since the vectors of a block's tokens stand side by side", config.dim,
                       s.length));
    }
  } else {
    heads("block.embedder_heads", s.embedder_dim, s.embedder_heads);
    within("block.embedder_positions", s.embedder_positions, s.embedder_rows() + b.embedder_pad_id + 1, kWidest);
  }
  if (b.token_decoder == TokenDecoder::summation && s.expansion != s.length) {
    fail("block.expansion", number(s.expansion), fmt::format("block.length = {}: a vector for each token", s.length));
  }
}

}  // namespace tandem
