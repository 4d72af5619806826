// The token decoder of a block transformer: what the block decoder's output becomes, and the layers that write a
// block's tokens (Ho et al. 2024, section 2.4).
#pragma once

#include <deque>
#include <optional>

#include "arch/block_transformer_layout.h"
#include "arch/paged_pass.h"
#include "nn/biased.h"
#include "nn/t5.h"

namespace tandem {

class BlockTokenDecoder {
 public:
  BlockTokenDecoder(ParameterStore& store, const ModelConfig& config);
  void build_tables(const ModelConfig& config, const Precision& precision);  // once the parameters are there

  // contexts [N, dim], an activation -> [N * expansion, token_dim], an activation that may have several consumers.
  Var expand(Tape& tape, Var contexts) const;

  // What the layers attend to beside the block, one per layer; nothing unless they do.
  void project(Tape& tape, Var expanded, std::vector<ops::KeyValueHeads>& memory) const;
  bool attends_across() const { return kind_ == TokenDecoder::cross_attention; }

  // A pass over rows. `vectors`: what TokenRows::expanded counts; unused where the layers attend across. cache(i):
  // where layer i keeps its keys and values; null: nowhere.
  struct Pass {
    const TokenRows& rows;
    const SpanPlan& own;
    const SpanPlan& across;
    Var vectors = nullptr;
    std::span<const ops::KeyValueHeads> memory;
    std::function<nn::CacheColumns(size_t)> cache;
    std::function<void(const std::string&, Var)> seen;
  };
  // The last hidden states after the output norm, [rows, token_dim].
  Var forward(Tape& tape, const Pass& pass) const;

  const Parameter& output_table() const { return output_ ? *output_ : embedding_; }  // [V, token_dim]
  int64_t layers() const { return static_cast<int64_t>(attends_across() ? t5_.size() : neox_.size()); }
  // Of the keys and values of a row, and of those of a vector that is attended to.
  int64_t own_head_size() const { return attends_across() ? t5_.front().own_head_size() : sizes_.token_head_dim; }
  double flops_per_block() const;  // without the output projection

 private:
  Var inputs(Tape& tape, const Pass& pass) const;

  BlockSizes sizes_;
  TokenDecoder kind_;
  double dim_;
  nn::Linear expansion_;  // [expansion * token_dim, dim]
  Parameter& embedding_;  // [V, token_dim]
  std::deque<nn::ParallelLayer> neox_;
  std::deque<nn::T5Layer> t5_;
  Parameter* position_bias_ = nullptr;  // of the T5 layers: [buckets, heads]
  std::optional<nn::Norm> norm_;        // of GPT-NeoX
  Parameter* output_ = nullptr;         // [V, token_dim]; null: the embedding, as in T5
  nn::Rotary rotary_;
  bool turns_ = false;
};

}  // namespace tandem
