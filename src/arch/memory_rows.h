// What decoders attend to of an encoder's output, of one sequence in pages: keys and values projected from it, and
// where the caches keep them the output's vectors, from which keys and values can be projected again.
#pragma once

#include <vector>

#include "arch/state.h"
#include "cache/paged_rows.h"

namespace tandem {

// Column of a pool for an encoder's output.
std::vector<PagePool::Column> output_columns(DType dtype, int64_t dim);

class MemoryRows {
 public:
  // `caches` have the pools; their options say whether outputs are kept, and their counts what is projected again.
  MemoryRows(Caches& caches, PagePool& projected, PagePool& outputs)
      : caches_(&caches), projected_(projected), outputs_(outputs) {}

  int64_t length() const { return length_; }  // tokens
  const PagedRows& projected() const { return projected_; }
  const PagedRows& outputs() const { return outputs_; }

  // Whether the vectors of all tokens are there; tokens read without them never get them later.
  bool has_outputs() const { return outputs_.length() == length_; }
  bool resting() const { return projected_.length() < length_; }
  void rest();  // drops keys and values where the vectors are there

  // Room for keys and values of all tokens that are there and `count` more, and for the vectors of those where they are
  // kept. False, and nothing changed, when the pools have too few pages.
  bool reserve(int64_t count);
  // Adds `count` tokens, for which there is room, to a memory that is awake: the rows for their keys and values go to
  // `slots`.
  void append(int64_t count, std::vector<int32_t>& slots);
  // The vectors [count, dim] of the tokens added last, kept if that is wanted.
  void keep(const Tensor& outputs);
  bool unshare() { return projected_.unshare() && outputs_.unshare(); }  // see PagedRows
  void trim(int64_t length);
  void transfer(StateArchive& archive);

  // Figures with what the state holds besides: `own` of what it has written, `encoder` of what only reading needs.
  StateBytes token_bytes(const PagedRows& own, int64_t encoder) const;
  StateBytes page_bytes(const PagedRows& own, int64_t encoder) const;

 private:
  friend class WakingRows;
  bool keeps_outputs() const { return caches_->options().keep_outputs; }

  Caches* caches_;
  PagedRows projected_;  // of all tokens, or empty at rest
  PagedRows outputs_;    // of all tokens, or empty
  int64_t length_ = 0;
};

}  // namespace tandem
