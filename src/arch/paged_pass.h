// Tokens of several sequences on their way through a model's layers, and where a cache keeps them.
#pragma once

#include <span>
#include <vector>

#include "cache/paged_rows.h"
#include "nn/layers.h"

namespace tandem {

// Columns of a pool for `layers` layers: keys and values of each.
std::vector<PagePool::Column> key_value_columns(DType dtype, int64_t layers, int64_t heads, int64_t head_dim);

// Lives longer than the passes: what it holds is kept for the next one.
class PagedPass {
 public:
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;

  void clear();
  void reserve(int64_t tokens);  // room for passes that get longer each time
  // Tokens that follow each other from `first_position` on; returns the index of the first in the pass.
  int64_t add(std::span<const int32_t> tokens, int64_t first_position);

  void add_rows(int64_t count, int64_t first_position);  // the same for rows that are no tokens
  // Passes that read: `count` tokens, the last ones of the pass, go to the end of `rows`, and they see all of it up to
  // themselves. Attention reads copies of the rows, tile by tile.
  void read_causal(SpanPlan& plan, PagedRows& rows, int64_t count);
  // The same for the first tokens of a sequence when nothing is kept of them, seen causally or in both directions.
  void read_once(SpanPlan& plan, int64_t count, bool causal);
  // Passes that write: attention reads the pages in place, query by query.
  void write_causal(SpanPlan& plan, int32_t source, PagedRows& rows, int64_t count);

  // The same for all of `rows` and `count` tokens more: the last ones of the pass, of which those that are there are
  // written once more, to pages that are nobody else's.
  void write_again(SpanPlan& plan, int32_t source, PagedRows& rows, int64_t count);

  int64_t size() const { return static_cast<int64_t>(ids.size()); }
  std::span<const int32_t> slots() const { return slots_; }
  // The cache of layer i in a pool of key_value_columns(). Valid until the next pass.
  nn::CacheColumns layer(const PagePool& pool, size_t i);
  nn::CacheColumns no_cache();

 private:
  std::vector<int32_t> slots_;
  GatheredRows gathered_;
  nn::CachePass cache_pass_;
};

// The keys and values of layer i, in place.
ops::KeyValueHeads layer_heads(Tape& tape, const PagePool& pool, size_t i);

// Puts projected keys and values of all tokens of a pass into the columns of layer i.
void keep_heads(Tape& tape, const PagePool& pool, size_t i, std::span<const int32_t> slots,
                const ops::KeyValueHeads& heads);

}  // namespace tandem
