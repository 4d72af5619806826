// The held-out text as a fixed list of rows, and the bytes of text behind their labels (for bits per byte).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/packer.h"
#include "data/shard.h"
#include "text/batch.h"
#include "text/tokenizer.h"

namespace tandem {

// Bytes of text that each token stands for: the length of its byte string; 0 for special tokens.
std::vector<int32_t> token_byte_lengths(const Tokenizer& tokenizer);

// Documents packed once, in their order. The last, unfinished row is dropped, unless it is the only one: then it is
// kept as one shorter row. Conversations are packed in their order as well; the last row is padded like all others, and
// those that are too long are left out or cut as in training. With `max_rows` > 0 at most that many rows, spread evenly
// over all of them.
//
// bits per byte = (sum of the losses in nats over labelled tokens) / ln 2 / text_bytes(): the bytes of exactly the
// labelled tokens.
class HeldOut {
 public:
  // Calls its argument with the ids of every document, in order.
  using Visit = std::function<void(std::span<const uint32_t> ids)>;
  using EachDocument = std::function<void(const Visit& visit)>;

  // InputError when not a single token would be labelled.
  HeldOut(const EachDocument& each_document, const PackRule& rule, const std::vector<int32_t>& token_bytes,
          int64_t max_rows);
  HeldOut(const ShardSet& shards, const PackRule& rule, const std::vector<int32_t>& token_bytes, int64_t max_rows);

  int64_t rows() const { return rows_.rows; }
  int64_t length() const { return rows_.length; }  // PackRule::length, or less for the only row
  int64_t labelled() const { return labelled_; }
  int64_t text_bytes() const { return text_bytes(rows_.labels); }
  // Behind other labels for the same text; ids that the tokenizer does not have stand for none.
  int64_t text_bytes(std::span<const int32_t> labels) const;

  // What the batches ask for; conversation or text, as the rows are, until it is set.
  void set_objective(Objective objective) { rows_.objective = objective; }

  // Rows first .. first + count - 1, cut at the last row.
  Batch batch(int64_t first, int64_t count) const;
  const Batch& all() const { return rows_; }

 private:
  Batch rows_;
  int64_t labelled_ = 0;
  std::vector<int32_t> token_bytes_;
};

}  // namespace tandem
