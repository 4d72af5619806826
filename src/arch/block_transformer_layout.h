// Tokens in blocks: where each stands, what the block decoder reads, and the rows of the token decoder.
//
// A sequence is a row of slots, `length` to a block. A token at position p stands in slot p + first_pads: positions
// count from 0 at the first token of a sequence that nothing was drawn for, and are negative where fewer pads than
// first_pads stand before it. Slots without a token are pads. The tokens of a sequence's first block are given, never
// predicted.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "arch/config.h"
#include "kernels/span_plan.h"
#include "text/batch.h"

namespace tandem {

// The rows of a pass of the token decoder, block after block: `leading` rows that stand before the first token (the
// prefix vectors, or one BOS), then a row for each token. The last leading row predicts the block's first token, the
// row of a token the one behind it.
class TokenRows {
 public:
  TokenRows(const BlockSizes& sizes, TokenDecoder kind, TokenPositions places)
      : sizes_(sizes), kind_(kind), places_(places) {}

  void clear();
  // Opens a block; `vectors`: rows of what the block decoder's output became, `expansion` of them. Returns the first
  // row of the block.
  int64_t open(std::span<const int32_t> vectors);
  // The row of a token at `offset` of the block; returns it.
  int64_t add(int32_t id, int64_t offset, std::span<const int32_t> vectors);
  void fill_up(int64_t rows, int64_t ids);  // with rows that hold nothing

  int64_t size() const { return static_cast<int64_t>(positions.size()); }

  std::vector<int32_t> ids;        // tokens to be looked up
  std::vector<int32_t> embedded;   // [rows] row of their embeddings, or -1
  std::vector<int32_t> expanded;   // [rows] row of the vectors, or -1
  std::vector<int32_t> positions;  // [rows]

 private:
  void add_row(bool token, int32_t vector, int64_t position);

  BlockSizes sizes_;
  TokenDecoder kind_;
  TokenPositions places_;
};

// Where a token stands, by its block's number in the sequence and its offset in it.
struct BlockPlace {
  int64_t block = 0;
  int64_t offset = 0;
};
inline BlockPlace place_of(int64_t slot, int64_t length) { return {slot / length, slot % length}; }

// A training pass. Lists are rounded up in size, since matrix products are compiled for the sizes that they meet.
class BlockLayout {
 public:
  explicit BlockLayout(const ModelConfig& config);

  // Tokens of sequences that know nothing of each other. InputError for positions that are not ascending, leave out a
  // whole block, or reach beyond max_seq_len. Sequences whose tokens all have position 0 are left out: a batch is
  // filled up with them.
  void build(std::span<const int32_t> ids, std::span<const int32_t> positions, std::span<const TokenRange> sequences);

  // Blocks.
  std::vector<int32_t> slots;            // [blocks * length] ids, pads included
  std::vector<TokenRange> filled;        // [blocks] offsets of its tokens
  std::vector<int32_t> block_positions;  // [blocks] its number in the sequence
  SpanPlan block_plan;                   // each block sees those before it and itself
  std::vector<int32_t> contexts;         // [predicted] the block before, which predicts it
  // The predicted blocks' tokens.
  TokenRows rows;
  SpanPlan own_plan;                // what a row sees of its block
  SpanPlan vector_plan;             // and of the vectors, where it attends to them
  std::vector<int32_t> predictors;  // [tokens] the row that predicts the next token; -1: none does
  // Real blocks and predicted blocks, without what fills up.
  int64_t blocks = 0;
  int64_t predicted = 0;

 private:
  void add_sequence(std::span<const int32_t> ids, std::span<const int32_t> positions);
  void open_block(int64_t number, int64_t first, bool begins);
  void open_predicted();
  void close_predicted();
  void fill_up();

  BlockSizes sizes_;
  int64_t most_tokens_;
  std::vector<int32_t> vectors_;  // of the open predicted block
  int64_t leading_row_ = 0, pad_row_ = -1, token_row_ = -1;
  bool open_ = false;
};

// Positions of a sequence's documents with pads as the config has them: `ends` are the ends of its documents, the last
// one the number of its tokens; draw(n) gives a number below n.
std::vector<int32_t> padded_positions(const ModelConfig& config, std::span<const int64_t> ends,
                                      const std::function<int64_t(int64_t)>& draw);

}  // namespace tandem
