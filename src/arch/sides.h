// Rows as what an encoder reads and a decoder writes: everything here follows from the rows and the choices that a
// batch carries, so that given choices give given sides.
#pragma once

#include <span>

#include "arch/config.h"
#include "base/rng.h"
#include "text/batch.h"

namespace tandem {

// Fills the sides of a batch, one sequence and one block after the other.
class Sides {
 public:
  explicit Sides(Batch& batch);  // empties both sides and makes the batch two-sided

  // A sequence to read, at positions 0, 1, 2, ...
  TokenRange read(std::span<const int32_t> ids);
  // A block that is written at first_position, first_position + 1, ..., where no position goes beyond last_position.
  void write(std::span<const int32_t> ids, std::span<const int32_t> labels, int64_t first_position,
             int64_t last_position, const TokenRange& reads);

 private:
  Batch& batch_;
};

// InputError when the architecture does not learn the batch's objective.
void check_objective(const ModelConfig& config, const Batch& batch);
// InputError when bos_id or eos_id is not set.
void check_document_tokens(const ModelConfig& config);

// Prefix-LM (github ashlab11/block-based-double-decoder, collators/encoder_decoder/prefixlm.py and
// collators/decoder/prefixlm.py): one length of 1..n-2 for every text of n tokens, uniform; texts of fewer than 3
// tokens get 0 and are left out. Lengths that the batch has already are checked and kept.
void draw_prefixes(Batch& batch, Rng& rng);
// Two-sided: the first part is read; BOS and the rest are written, the label of the last token is EOS whatever the row
// holds. Positions of the written tokens go on behind the first part, or start at 0.
void lay_out_prefixes(Batch& batch, const ModelConfig& config, bool continue_positions);
// One-sided: labels are the next tokens from the last token of the first part on, without BOS and EOS.
void label_suffixes(Batch& batch, const ModelConfig& config);

// The blocks of plain text, where both sides are the rows: a text begins one, the batch's boundaries cut it, and each
// reads all tokens of its text before it. The first has none before it and reads the text's first token, so that there
// is always something to read. InputError for boundaries that are not ascending or lie outside.
std::vector<WriterBlock> text_blocks(const Batch& batch);

// Conversations, one-sided: each up to its last labelled token, as one block that reads nothing.
void lay_out_conversations(Batch& batch);
// The double decoder's way: a conversation is read once, up to its last labelled response; each response is a block
// that sees all that stands before it through the encoder, written up to its last labelled token.
void lay_out_responses(Batch& batch);
// The encoder-decoder's way (collators/encoder_decoder/sft.py): what stands before a response is read for it alone,
// BOS and the response are written, its role token is predicted like the others. Both sides are cut at max_seq_len.
void lay_out_turns(Batch& batch, const ModelConfig& config);

}  // namespace tandem
