// Training rows without an end: documents in a new order each epoch, packed, from any stored place on.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "data/packer.h"
#include "data/shard.h"
#include "text/batch.h"

namespace tandem {

// The place between two rows. Everything else follows from it: the order of documents is a function of seed and epoch,
// and no row is ever half written here.
struct Cursor {
  int64_t epoch = 0;
  int64_t document = 0;  // position in the epoch's order
  int64_t offset = 0;    // tokens of that document that were read already
  bool operator==(const Cursor&) const = default;
};

// The row that is unfinished at the end of an epoch goes on with the first document of the next one: training drops no
// token.
class RowStream {
 public:
  // `shards` must outlive the stream. InputError when they hold no token.
  RowStream(const ShardSet& shards, const PackRule& rule, int64_t seed);

  // The next `rows` rows of rule.length tokens. Two calls for n rows give the same rows as one call for 2n.
  Batch next_batch(int64_t rows);

  const Cursor& cursor() const { return cursor_; }
  // The share of the current epoch that was read, by documents; epochs included.
  double epochs() const;

  // Cursor, seed and the data's hash, for a checkpoint.
  OrderedJson state() const;
  // InputError when the state is malformed, of other data or of another seed.
  void restore(const Json& state, const std::string& where);

 private:
  void next_row(Batch& batch);

  const ShardSet& shards_;
  PackRule rule_;
  int64_t seed_;
  Cursor cursor_;
  RowPacker packer_;
};

}  // namespace tandem
