// Cache memory that all sequences share, handed out in pages.
//
// A pool has columns: one tensor for each thing that is kept of a token (the keys of layer 0, its values, the keys of
// layer 1, ...). A page is kPageTokens rows of every column, at the same place in each: what attention needs to know of
// a sequence is one list of rows, the same for all layers. Pages are counted: sequences with a common beginning share
// them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace tandem {

// The tile of attention: a page is a tile of keys wherever it lies, so that results do not depend on where pages lie.
inline constexpr int64_t kPageTokens = 64;

// What several pools may hold together.
class MemoryBudget {
 public:
  explicit MemoryBudget(int64_t limit) : limit_(limit) {}
  bool take(int64_t bytes) {  // false, and nothing taken, when there is less left
    if (bytes > limit_ - used_) return false;
    used_ += bytes;
    return true;
  }
  void give_back(int64_t bytes) { used_ -= bytes; }
  int64_t limit() const { return limit_; }
  int64_t used() const { return used_; }

 private:
  int64_t limit_;
  int64_t used_ = 0;
};

class PagePool {
 public:
  static constexpr int32_t kNone = -1;

  struct Column {
    DType dtype = DType::f32;
    int64_t heads = 1;
    int64_t size = 0;  // of a head
  };

  // Room for `most_tokens` tokens (rounded up to whole pages) as far as the budget allows. The system gives memory as
  // pages are written.
  PagePool(MemoryBudget& budget, const std::vector<Column>& columns, int64_t most_tokens);
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;
  ~PagePool();

  // A page with one owner, behind `neighbour` if that place is free; kNone when the pool or the budget is exhausted.
  int32_t allocate(int32_t neighbour = kNone);
  void retain(int32_t page);   // one owner more
  void release(int32_t page);  // one less; a page without owners is free
  bool shared(int32_t page) const { return owners_[static_cast<size_t>(page)] > 1; }
  // The first `rows` rows of one page to another, in all columns.
  void copy(int32_t from, int32_t to, int64_t rows);
  // Exchanges those of a state's pages that have other owners, too, for copies of their own; kNone is left alone.
  // False, and nothing changed, when there are too few pages.
  bool unshare(std::span<int32_t> pages);

  // The whole column, [pages * kPageTokens, heads, size]; row r of page p is row p * kPageTokens + r.
  const Tensor& column(size_t i) const { return columns_[i]; }
  size_t columns() const { return columns_.size(); }
  int64_t row_bytes() const { return row_bytes_; }  // of one token in all columns
  int64_t page_bytes() const { return row_bytes_ * kPageTokens; }
  int64_t pages_in_use() const { return in_use_; }
  int64_t bytes_in_use() const { return in_use_ * page_bytes(); }

 private:
  MemoryBudget& budget_;
  std::vector<Tensor> columns_;
  int64_t row_bytes_ = 0;
  int64_t pages_ = 0;
  std::vector<int32_t> owners_;  // of each page
  int64_t first_free_ = 0;       // no page before it is free
  int64_t in_use_ = 0;
  void* memory_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tandem
