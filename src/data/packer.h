// Documents and conversations into rows of a fixed length.
//
// Documents are packed as the authors of the double decoder pack them. A row starts with BOS. A document is appended;
// if more than 2 slots stay free, EOS and BOS follow. With exactly 1 free slot EOS fills it; with 0 the row ends
// without EOS; with exactly 2 NOTHING is written: the next document follows without a separator. A document that does
// not fit fills the row and goes on in the next row, after a new BOS. Empty documents leave no trace. (../golden:
// collators/NOTES.md, "Packing" and "Labels".)
//
// Conversations stay whole: a row holds as many as fit one after the other, and padding behind them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/records.h"
#include "text/batch.h"

namespace tandem {

// What becomes of a conversation that is longer than a row.
enum class LongConversations {
  drop,
  truncate,  // loses the beginning of what stands before its last response; dropped when the response is too long
             // itself
};

struct PackRule {
  int64_t length = 0;  // tokens of a row; at least 2
  int32_t bos = -1;
  int32_t eos = -1;       // may equal bos
  bool isolated = false;  // documents of a row cannot see each other; conversations never can
  Records records = Records::text;
  // Of conversations:
  int32_t assistant = -1;  // opens a response and is never predicted
  int32_t pad = -1;
  LongConversations long_conversations = LongConversations::drop;
};

// The row of documents that is being filled.
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

// The row of conversations that is being filled.
class ConversationPacker {
 public:
  explicit ConversationPacker(const PackRule& rule);  // InputError when the length is below 2

  enum class Outcome {
    taken,
    row_full,  // it fits into a row, but not into what is left of this one
    dropped,   // it is longer than a row and cannot be taken
  };
  // `stored`: a conversation as shards hold it (data/shard.h), BOS first.
  Outcome add(std::span<const uint32_t> stored);

  bool started() const { return !ids_.empty(); }
  int64_t tokens() const { return static_cast<int64_t>(ids_.size()); }  // without padding
  int64_t truncated() const { return truncated_; }                      // conversations taken in part, so far
  void clear();

  // Fills what is left with padding and appends the row.
  void append_to(Batch& batch);

 private:
  void append(uint32_t stored, Role role);

  PackRule rule_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> segments_;
  std::vector<Role> roles_;
  int32_t segment_ = 0;
  int64_t truncated_ = 0;
};

// An empty batch with its row length set.
Batch empty_batch(int64_t length);
// The same with what the rule says of all rows.
Batch empty_batch(const PackRule& rule);
// Makes that of `batch`, whose lists keep their memory.
void make_empty(Batch& batch, const PackRule& rule);

// Appends a row of batch.length tokens of documents: its ids, segments, positions from 0 (from 0 in each segment when
// documents are isolated), and labels: the next token, or kIgnoreLabel where the INPUT is BOS or EOS, at the last
// position, and, when documents are isolated, at the end of a document.
void append_row(Batch& batch, std::span<const int32_t> ids, std::span<const int32_t> segments, const PackRule& rule);

// The label of a token of a conversation: the next token, if that is part of a response behind its opening token.
// `next` is the one that follows in the same conversation.
int32_t conversation_label(int32_t next, Role next_role, const PackRule& rule);

// Appends row `row` of another batch of the same row length.
void append_copy(Batch& to, const Batch& from, int64_t row);

}  // namespace tandem
