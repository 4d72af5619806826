// Parameters of the Block Transformer's authors (github itsnamgyu/block-transformer, state_dict of BlockTransformer
// over the modules of transformers 4.39) for ours. Some of theirs are several of ours stacked, or hold rows in another
// order.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/arena.h"

namespace tandem {

struct BlockTransformerSource {
  enum class Layout {
    rows,       // the tensors' rows one after the other
    by_head,    // one tensor whose rows are, head by head, those of the query, the key and the value
    taps_last,  // a convolution [out, in, taps] whose taps stand side by side: [out, taps * in]
  };
  std::vector<std::string> names;
  Layout layout = Layout::rows;
};

// Their modules: an embedder that looks up or a RoBERTa; a token decoder of GPT-NeoX or of T5.
struct BlockTransformerModules {
  bool lookup = true;
  bool t5 = false;
};

// `ours`: a parameter's name.
BlockTransformerSource block_transformer_source(std::string_view ours, const BlockTransformerModules& modules);

// Tensors of theirs that nothing needs: a table that is never looked up, and second names of the tied one.
bool block_transformer_ignores(std::string_view theirs);

// What `ours` holds, [rows, columns] or [rows] in float32, made from their tensors, in the order of the source's names.
// `heads`: of a by_head layout. InputError naming `where` when shapes do not fit.
Storage from_block_transformer(const BlockTransformerSource& source, std::span<const Tensor> theirs, const Shape& ours,
                               int64_t heads, const std::string& where);

}  // namespace tandem
