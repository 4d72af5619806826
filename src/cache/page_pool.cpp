#include "cache/page_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace tandem {
namespace {

constexpr size_t kColumnAlignment = 4096;  // a page of the system: columns begin cold ones

size_t column_bytes(const PagePool::Column& column, int64_t pages) {
  int64_t row = column.heads * column.size * dtype_bytes(column.dtype);
  auto bytes = static_cast<size_t>(pages * kPageTokens * row);
  return (bytes + kColumnAlignment - 1) / kColumnAlignment * kColumnAlignment;
}

}  // namespace

PagePool::PagePool(MemoryBudget& budget, const std::vector<Column>& columns, int64_t most_tokens) : budget_(budget) {
  for (const Column& column : columns) row_bytes_ += column.heads * column.size * dtype_bytes(column.dtype);
  pages_ = (most_tokens + kPageTokens - 1) / kPageTokens;
  if (page_bytes() > 0) pages_ = std::min(pages_, budget.limit() / page_bytes());
  for (const Column& column : columns) size_ += column_bytes(column, pages_);
  if (size_ > 0) {
    // Address space only: a page of the system is there once something is written to it.
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) {
      throw JobError({.what = "no address space for a cache", .got = fmt::format("{} bytes", size_)});
    }
  }
  auto* at = static_cast<char*>(memory_);
  for (const Column& column : columns) {
    columns_.emplace_back(at, column.dtype, Shape{pages_ * kPageTokens, column.heads, column.size});
    at += column_bytes(column, pages_);
  }
  owners_.assign(static_cast<size_t>(pages_), 0);
}

PagePool::~PagePool() {
  budget_.give_back(bytes_in_use());
  if (size_ > 0) munmap(memory_, size_);
}

int32_t PagePool::allocate(int32_t neighbour) {
  auto free = [&](int64_t page) { return page < pages_ && owners_[static_cast<size_t>(page)] == 0; };
  int64_t page = neighbour + 1;
  if (neighbour == kNone || !free(page)) {
    while (first_free_ < pages_ && !free(first_free_)) ++first_free_;
    page = first_free_;
  }
  if (page >= pages_ || !budget_.take(page_bytes())) return kNone;
  owners_[static_cast<size_t>(page)] = 1;
  ++in_use_;
  return static_cast<int32_t>(page);
}

void PagePool::retain(int32_t page) { ++owners_[static_cast<size_t>(page)]; }

void PagePool::release(int32_t page) {
  if (--owners_[static_cast<size_t>(page)] > 0) return;
  first_free_ = std::min<int64_t>(first_free_, page);
  --in_use_;
  budget_.give_back(page_bytes());
}

void PagePool::copy(int32_t from, int32_t to, int64_t rows) {
  for (const Tensor& column : columns_) {
    int64_t bytes = column.row_size() * dtype_bytes(column.dtype);
    auto* data = static_cast<char*>(column.data);
    std::memcpy(data + to * kPageTokens * bytes, data + from * kPageTokens * bytes, static_cast<size_t>(rows * bytes));
  }
}

bool PagePool::unshare(std::span<int32_t> pages) {
  auto has_others = [&](int32_t page) { return page != kNone && shared(page); };
  std::vector<int32_t> own;
  for (int32_t page : pages) {
    if (!has_others(page)) continue;
    int32_t fresh = allocate(own.empty() ? kNone : own.back());
    if (fresh == kNone) {
      for (int32_t taken : own) release(taken);
      return false;
    }
    copy(page, fresh, kPageTokens);
    own.push_back(fresh);
  }
  auto next = own.begin();
  for (int32_t& page : pages) {
    if (has_others(page)) release(std::exchange(page, *next++));
  }
  return true;
}

}  // namespace tandem
