// Training rows without an end: documents in a new order each epoch, packed, from any stored place on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "data/packer.h"
#include "data/shard.h"
#include "text/batch.h"

namespace tandem {

// Documents [first, first + count) of a store, read in proportion to `weight`.
struct MixPart {
  int64_t first = 0;
  int64_t count = 0;
  double weight = 1;
};

// The place between two rows in one part. Everything else follows from it: the order of documents is a function of seed
// and epoch, and no row is ever half written here.
struct Cursor {
  int64_t epoch = 0;
  int64_t document = 0;  // position in the epoch's order
  int64_t offset = 0;    // tokens of that document that were read already; always 0 for conversations
  int64_t tokens = 0;    // in the rows made of this part, without padding: what the proportions are kept by
  bool operator==(const Cursor&) const = default;
};

// Each row holds documents of one part: the one whose share of the tokens lags behind its weight the most, so that the
// tokens read of each part differ from their share by less than a row or two at any time. Each part has its own
// epochs. The row that is unfinished at the end of an epoch goes on with the first document of the next one: training
// drops no token, and no conversation but those that are too long.
//
// The stream is one whatever number of workers share it: each makes its rows and skips those of the others, and all of
// them stand at the same cursor. Restoring a cursor reads no document but those it names.
class RowStream {
 public:
  // `store` must outlive the stream. Without parts, all documents are one. InputError when a part holds no token.
  RowStream(const DocumentStore& store, const PackRule& rule, int64_t seed, std::vector<MixPart> parts = {});

  // The next `rows` rows of rule.length tokens. Two calls for n rows give the same rows as one call for 2n. InputError
  // when no conversation of a part fits into a row.
  Batch next_batch(int64_t rows);
  // The same in the place of what `batch` was: the memory of its lists is used again.
  void next_batch(int64_t rows, Batch& batch);
  // As if they had been made and dropped.
  void skip(int64_t rows);

  // To where `other`, a stream of the same data, rule, seed and parts, stands.
  void go_to(const RowStream& other);

  size_t parts() const { return parts_.size(); }
  const Cursor& cursor(size_t part = 0) const { return cursors_.at(part); }
  // The share of the current epoch of a part that was read, by documents; epochs included.
  double epochs(size_t part = 0) const;
  // The part that the last row was made of.
  size_t last_part() const { return last_part_; }

  // Cursors, seed and the data's hash, for a checkpoint.
  OrderedJson state() const;
  // InputError when the state is malformed, of other data, of another seed, or of a mix of another number of parts.
  void restore(const Json& state, const std::string& where);

 private:
  size_t next_part() const;
  int64_t document_at(size_t part, const Cursor& cursor) const;
  void next_document(size_t part);
  void next_row(Batch& batch);
  void fill_text(Batch& batch, size_t part);
  void fill_conversations(Batch& batch, size_t part);
  Cursor read_cursor(const Json& state, size_t part, const std::string& where) const;

  const DocumentStore& store_;
  PackRule rule_;
  int64_t seed_;
  std::vector<MixPart> parts_;
  std::vector<Cursor> cursors_;  // one for each part
  size_t last_part_ = 0;
  RowPacker packer_;
  ConversationPacker conversations_;
};

}  // namespace tandem
