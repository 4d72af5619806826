// What a cache holds of one sequence: its tokens' rows, in pages of a pool.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cache/page_pool.h"
#include "kernels/span_plan.h"

namespace tandem {

// Copies share pages; the first to write to a page that is shared gets one of its own.
class PagedRows {
 public:
  explicit PagedRows(PagePool& pool) : pool_(&pool) {}
  PagedRows(const PagedRows& other);
  PagedRows& operator=(const PagedRows& other);
  PagedRows(PagedRows&& other) noexcept;
  PagedRows& operator=(PagedRows&& other) noexcept;
  ~PagedRows() { trim(0); }

  PagePool& pool() const { return *pool_; }
  int64_t length() const { return length_; }
  // Bytes of the tokens, and of the pages that hold them (counted for every sequence that shares them).
  int64_t bytes() const { return length_ * pool_->row_bytes(); }
  int64_t page_bytes() const { return static_cast<int64_t>(pages_.size()) * pool_->page_bytes(); }

  // Makes room for `count` tokens more. False, and nothing changed, when the pool has too few pages.
  bool reserve(int64_t count);
  // Adds `count` tokens, for which there is room, and their rows in the pool's columns to `slots`.
  void append(int64_t count, std::vector<int32_t>& slots);
  // Copies the pages that others hold too. False, and nothing changed, when the pool has too few pages.
  bool unshare();
  void trim(int64_t length);  // keeps the first `length` tokens; room that is left goes back to the pool

  // Appends to `out` the rows of the tokens from `first` on, column by column.
  void copy_out(int64_t first, std::string& out) const;
  // Adds `count` tokens from such bytes, which are of `written` tokens: those behind the first `skipped`. False, and
  // nothing changed, when the pool has too few pages.
  bool copy_in(int64_t count, const char* from, int64_t skipped, int64_t written);
  bool copy_in(int64_t count, const char* from) { return copy_in(count, from, 0, count); }

  // The row of token t in the pool's columns.
  int32_t row(int64_t t) const {
    return static_cast<int32_t>(pages_[static_cast<size_t>(t / kPageTokens)] * kPageTokens + t % kPageTokens);
  }

 private:
  void release_from(size_t page);
  // Calls copy(bytes in the pool's column, bytes of so many rows) for stretches of tokens [first, end) that lie side by
  // side, in order.
  template <class Copy>
  void each_stretch(size_t column, int64_t first, int64_t end, const Copy& copy) const;

  PagePool* pool_;
  std::vector<int32_t> pages_;
  int64_t length_ = 0;
};

// Spans of all tokens of `rows`, to the run added last to the plan. With `queries` > 0 the last `queries` tokens are
// those of the run, which begins at query `first_query`, and each sees what stands before it and itself; with 0 all
// tokens are seen.
void add_paged_spans(SpanPlan& plan, int32_t source, const PagedRows& rows, int64_t first_query, int64_t queries);

// All rows of some sequences one after the other, each from a whole tile on: a copy in which long stretches of keys lie
// side by side, for passes that use each of them many times.
class GatheredRows {
 public:
  void clear() { rows_.clear(); }
  // Adds a sequence of all tokens of `rows` and, behind them, tokens [first, first + count) of a pass; returns the
  // place of its first token in the copy.
  int64_t add(const PagedRows& rows, int64_t first, int64_t count);
  int64_t add(int64_t first, int64_t count);  // a sequence that begins with the pass
  // Rows of the pool's columns, kernels::fresh_row() for those of the pass, and kFiller for a row of zeros, which
  // nobody sees but which a tile may run over.
  static constexpr int32_t kFiller = -1;
  std::span<const int32_t> rows() const { return rows_; }

 private:
  int64_t begin_sequence();

  std::vector<int32_t> rows_;
};

}  // namespace tandem
