// What a block transformer's config says beside the sizes that all architectures have: the "block" part of a model's
// config. Of those, n_encoder_layers are the block decoder's layers and n_decoder_layers the token decoder's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/fields.h"

namespace tandem {

// How the tokens of a block become one vector.
enum class BlockEmbedder {
  lookup,   // their rows of a table, side by side
  roberta,  // a small bidirectional encoder over them, its outputs side by side through a projection
  cls,      // the same with tokens of its own in front, whose outputs alone are projected
};

// How the token decoder is told what the block decoder expects of the block.
enum class TokenDecoder {
  prefix,           // vectors that stand before the block's tokens
  summation,        // a vector that is added to each token's embedding
  cross_attention,  // vectors that the tokens attend to (a T5 decoder)
};

// Which positions the token decoder's vectors and tokens have when text is generated.
enum class TokenPositions {
  as_trained,
  as_published,  // of the authors' generate(): all prefix vectors at position 0, the tokens behind them at 1, 2, ...
};

struct BlockConfig {
  int64_t length = 4;  // tokens of a block
  BlockEmbedder embedder = BlockEmbedder::lookup;
  int64_t embedder_dim = 0;      // 0: dim / length
  int64_t embedder_layers = 3;   // of the embedders with an encoder, as are the next ones
  int64_t embedder_heads = 0;    // 0: n_heads
  int64_t embedder_mlp_dim = 0;  // 0: 4 * embedder_dim
  int64_t cls_tokens = 3;
  int64_t embedder_pad_id = -1;    // an id that counts as no position: RoBERTa's padding; -1: none
  int64_t embedder_positions = 0;  // rows of its table of positions; 0: as many as a block needs
  TokenDecoder token_decoder = TokenDecoder::prefix;
  int64_t expansion = 0;          // vectors that the block decoder's output becomes; 0: 2 for a prefix, else length
  int64_t token_dim = 0;          // width of the token decoder; 0: dim
  int64_t token_heads = 0;        // 0: heads of the block decoder's size
  int64_t token_mlp_dim = 0;      // 0: 4 * token_dim
  double rotary_fraction = 0.25;  // of a head's features turn with the position
  // Pads in training: a document begins at a random place of its first block and ends at the end of one, so that no
  // block holds two documents.
  bool random_first_block = true;
  bool pad_to_block_end = true;
  int64_t first_block_pads = -1;  // before a sequence that is generated, and where nothing is drawn; -1: length - 1
  int64_t pad_id = -1;            // stands where a block has no token; -1: eos_id, or 0 where that is not known
  int64_t token_bos_id = -1;      // opens a block without a prefix; -1: bos_id, or 0
  TokenPositions positions = TokenPositions::as_trained;
};

void list_fields(FieldList& fields, BlockConfig& config);

// The sizes with all zeros and -1 replaced. Vectors before a block's first token: `leading`.
struct BlockSizes {
  int64_t length, first_pads, pad_id, token_bos_id;
  int64_t expansion, leading;
  int64_t embedder_dim, embedder_heads, embedder_mlp_dim, embedder_positions, cls_tokens;
  int64_t token_dim, token_heads, token_head_dim, token_mlp_dim;
  int64_t rotary_features, token_rotary_features;
  int64_t embedder_rows() const { return cls_tokens + length; }  // of a block
  int64_t token_rows() const { return leading + length - 1; }    // of a block, at most
};
struct ModelConfig;
BlockSizes block_sizes(const ModelConfig& config);

// Calls fail(field, got, expected) for the first field that does not fit.
void check_block_config(const ModelConfig& config,
                        const std::function<void(const char*, const std::string&, const std::string&)>& fail);

}  // namespace tandem
