// How the tokens of a block become one vector (Ho et al. 2024, section 2.2).
#pragma once

#include <deque>
#include <optional>

#include "arch/block_transformer_layout.h"
#include "nn/biased.h"

namespace tandem {

class BlockTokensEmbedder {
 public:
  BlockTokensEmbedder(ParameterStore& store, const ModelConfig& config);

  // slots [N * length] ids with pads, filled [N] offsets of the tokens among them -> [N, dim] on the residual stream.
  // `order`: the way attention takes; both lists must outlive the backward pass.
  Var forward(Tape& tape, std::span<const int32_t> slots, std::span<const TokenRange> filled, QueryOrder order);

  double flops_per_block() const;

 private:
  // A small RoBERTa.
  struct Encoder {
    Encoder(ParameterStore& store, const ModelConfig& config);
    Parameter& positions;  // [embedder_positions, embedder_dim]
    Parameter& type;       // [1, embedder_dim]: RoBERTa's one kind of token
    nn::Norm norm;
    std::deque<nn::PostNormLayer> layers;
    nn::Linear projection;  // [dim, outputs * embedder_dim]
  };
  Var encode(Tape& tape, std::span<const int32_t> slots, std::span<const TokenRange> filled, QueryOrder order);
  void align_rows();
  void lay_out(std::span<const int32_t> slots, std::span<const TokenRange> filled, QueryOrder order);

  const BlockSizes sizes_;
  const int64_t dim_;
  const bool cls_;
  const int64_t pad_id_;
  int32_t cls_id_;
  Parameter& table_;  // [V, embedder_dim]
  std::optional<Encoder> encoder_;
  // Of the pass in progress: rows of all blocks, the CLS tokens of each first.
  std::vector<int32_t> ids_, positions_, types_, outputs_;
  SpanPlan plan_;
};

}  // namespace tandem
