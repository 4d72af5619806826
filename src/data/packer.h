// Documents into rows of a fixed length, as the authors of the double decoder pack them.
//
// A row starts with BOS. A document is appended; if more than 2 slots stay free, EOS and BOS follow. With exactly 1
// free slot EOS fills it; with 0 the row ends without EOS; with exactly 2 NOTHING is written: the next document follows
// without a separator. A document that does not fit fills the row and goes on in the next row, after a new BOS. Empty
// documents leave no trace. (../golden: collators/NOTES.md, "Packing" and "Labels".)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/batch.h"

namespace tandem {

struct PackRule {
  int64_t length = 0;  // tokens of a row; at least 2
  int32_t bos = -1;
  int32_t eos = -1;  // may equal bos
};

// The row that is being filled.
class RowPacker {
 public:
  explicit RowPacker(const PackRule& rule);  // InputError when the length is below 2

  // Takes tokens of one document, from `rest`'s front, until the document or the row ends, and returns how many. When
  // it takes all of them, the document is closed. An empty document is not closed and changes nothing. Call only while
  // full() is false.
  size_t take(std::span<const uint32_t> rest);

  bool full() const { return static_cast<int64_t>(ids_.size()) == rule_.length; }
  bool started() const { return ids_.size() > 1; }
  void clear();

  // The row so far, without a BOS that no document follows.
  std::span<const int32_t> ids() const;
  std::span<const int32_t> segments() const;  // number of the document inside the row, EOS included

 private:
  void append(int32_t id);

  PackRule rule_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> segments_;
  int32_t segment_ = 0;
};

// An empty batch with its row length set.
Batch empty_batch(int64_t length);

// Appends a row of batch.length tokens: its ids, positions from 0, segments, and labels: the next token, or
// kIgnoreLabel where the INPUT is BOS or EOS and at the last position.
void append_row(Batch& batch, std::span<const int32_t> ids, std::span<const int32_t> segments, const PackRule& rule);

}  // namespace tandem
