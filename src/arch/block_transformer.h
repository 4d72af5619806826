// The Block Transformer (Ho et al. 2024, github itsnamgyu/block-transformer): an embedder makes one vector of each
// block of tokens, the block decoder reads these, causally, and the token decoder writes the tokens of the next block
// from the block decoder's last output alone. docs/architectures/block_transformer.md
#pragma once

#include <deque>

#include "arch/block_transformer_embedder.h"
#include "arch/block_transformer_layout.h"
#include "arch/block_transformer_tokens.h"
#include "arch/model.h"
#include "arch/paged_pass.h"
#include "nn/biased.h"

namespace tandem {

class BlockTransformer final : public Model {
 public:
  BlockTransformer(const ModelConfig& config, const Precision& precision, ParameterStore::Gradients gradients);

  void prepare(Batch& batch, Rng& rng) const override;
  std::unique_ptr<Caches> new_caches(const CacheOptions& options) const override;
  std::unique_ptr<State> new_state(Caches& caches) const override;
  using Model::new_state;
  double pass_share(PassKind kind, const Parameter& parameter) const override;
  Costs costs() const override;

 protected:
  Var hidden(Tape& tape, const Batch& batch) override;
  const Parameter& output_table() const override { return tokens_.output_table(); }
  void read_pieces(Tape& tape, std::span<const Piece> pieces) override;
  void write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) override;

 private:
  // The block decoder's output after its norm, [N, dim], of blocks with their tokens in slots; `order`: the embedder's
  // way of attention, cache: where the keys and values go, as pass_ says.
  Var decode_blocks(Tape& tape, std::span<const int32_t> slots, std::span<const TokenRange> filled,
                    std::span<const int32_t> positions, const SpanPlan& plan, QueryOrder order, const PagePool* cache);

  void check_labels(const Batch& batch) const;  // InputError for labels that no row predicts
  // Generation, in block_transformer_generation.cpp.
  // The blocks and rows of one piece that is written.
  struct Reach {
    int64_t first_token = 0;  // of the piece, in the sequence
    int64_t last_block = 0;   // that a token of the piece predicts
    int64_t next_block = 0;   // of the next wave
    int64_t first_known = 0;  // the first block of which the pass has the vectors
    int64_t vectors = 0;      // their place among the blocks that have some
    int64_t row = 0;          // of the piece's first token in the logits
  };
  // A pass of the token decoder over one block of each piece.
  struct Wave {
    Wave(const BlockSizes& sizes, const BlockConfig& config) : rows(sizes, config.token_decoder, config.positions) {}
    void clear();

    TokenRows rows;
    SpanPlan own, across;
    // Vectors that are put into a cache: rows of the pass's vectors, and where they go.
    std::vector<int32_t> kept_vectors, slots;
    // Rows whose hidden state is wanted, and where in the logits.
    std::vector<int32_t> wanted, targets;
  };
  // The block decoder over the blocks up to ends_ of each piece that it has not read; null when there are none.
  Var extend_blocks(Tape& tape, std::span<const Piece> pieces, QueryOrder order);
  void begin_writing(std::span<const Piece> pieces);
  // The vectors of the blocks that the pass enters, block after block; null when it enters none.
  Var vectors_of(Tape& tape, std::span<const Piece> pieces);
  void add_to_wave(const Piece& piece, Reach& reach);
  void run_wave(Tape& tape, const State& any, Var vectors, const Tensor& hidden);

  BlockSizes sizes_;
  BlockTokensEmbedder embedder_;
  std::deque<nn::ParallelLayer> block_layers_;
  nn::Norm block_norm_;
  BlockTokenDecoder tokens_;
  nn::Rotary rotary_;
  BlockLayout layout_;  // of the training pass in progress
  // Of passes over sequences, kept for the next one.
  std::vector<int32_t> slots_;
  std::vector<TokenRange> filled_;
  SpanPlan plan_;
  PagedPass pass_;
  std::vector<int32_t> contexts_;
  std::vector<int64_t> ends_;   // per piece
  std::vector<Reach> reaches_;  // per piece
  Wave wave_;
  std::vector<int32_t> places_;                // of a block's vectors
  std::vector<ops::KeyValueHeads> projected_;  // of the vectors, per layer
  std::vector<ops::KeyValueHeads> memory_;     // of the caches, per layer
};

}  // namespace tandem
