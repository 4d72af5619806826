#include "cache/paged_rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/copy_rows.h"

namespace tandem {

PagedRows::PagedRows(const PagedRows& other)
    : pool_(other.pool_),
      pages_(other.pages_.begin(), other.pages_.begin() + (other.length_ + kPageTokens - 1) / kPageTokens),
      length_(other.length_) {
  for (int32_t page : pages_) pool_->retain(page);
}

PagedRows& PagedRows::operator=(const PagedRows& other) {
  if (this != &other) *this = PagedRows(other);
  return *this;
}

PagedRows::PagedRows(PagedRows&& other) noexcept
    : pool_(other.pool_), pages_(std::exchange(other.pages_, {})), length_(std::exchange(other.length_, 0)) {}

PagedRows& PagedRows::operator=(PagedRows&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(pages_, other.pages_);
  std::swap(length_, other.length_);
  return *this;
}

void PagedRows::release_from(size_t page) {
  for (size_t i = page; i < pages_.size(); ++i) pool_->release(pages_[i]);
  pages_.resize(std::min(pages_.size(), page));
}

bool PagedRows::reserve(int64_t count) {
  const size_t before = pages_.size();
  auto needed = static_cast<size_t>((length_ + count + kPageTokens - 1) / kPageTokens);
  while (pages_.size() < needed) {
    int32_t page = pool_->allocate(pages_.empty() ? PagePool::kNone : pages_.back());
    if (page == PagePool::kNone) {
      release_from(before);
      return false;
    }
    pages_.push_back(page);
  }
  // The tokens to come begin in the middle of a page that somebody else holds too.
  auto last = static_cast<size_t>(length_ / kPageTokens);
  int64_t filled = length_ % kPageTokens;
  if (count == 0 || filled == 0 || !pool_->shared(pages_[last])) return true;
  int32_t own = pool_->allocate(last > 0 ? pages_[last - 1] : PagePool::kNone);
  if (own == PagePool::kNone) {
    release_from(before);
    return false;
  }
  pool_->copy(pages_[last], own, filled);
  pool_->release(std::exchange(pages_[last], own));
  return true;
}

bool PagedRows::unshare() { return pool_->unshare(pages_); }

void PagedRows::append(int64_t count, std::vector<int32_t>& slots) {
  for (int64_t t = length_; t < length_ + count; ++t) slots.push_back(row(t));
  length_ += count;
}

void PagedRows::trim(int64_t length) {
  length_ = std::clamp<int64_t>(length, 0, length_);
  release_from(static_cast<size_t>((length_ + kPageTokens - 1) / kPageTokens));
}

template <class Copy>
void PagedRows::each_stretch(size_t column, int64_t first, int64_t end, const Copy& copy) const {
  const Tensor& rows = pool_->column(column);
  const int64_t bytes = rows.row_size() * dtype_bytes(rows.dtype);
  for (int64_t t = first; t < end;) {
    int64_t next = std::min(end, (t / kPageTokens + 1) * kPageTokens);
    copy(static_cast<char*>(rows.data) + row(t) * bytes, static_cast<size_t>((next - t) * bytes));
    t = next;
  }
}

void PagedRows::copy_out(int64_t first, std::string& out) const {
  for (size_t c = 0; c < pool_->columns(); ++c) {
    each_stretch(c, first, length_, [&](const char* rows, size_t bytes) { out.append(rows, bytes); });
  }
}

bool PagedRows::copy_in(int64_t count, const char* from, int64_t skipped, int64_t written) {
  if (!reserve(count)) return false;
  for (size_t c = 0; c < pool_->columns(); ++c) {
    const Tensor& column = pool_->column(c);
    const int64_t row_bytes = column.row_size() * dtype_bytes(column.dtype);
    const char* at = from + skipped * row_bytes;
    each_stretch(c, length_, length_ + count, [&](char* rows, size_t bytes) {
      std::memcpy(rows, at, bytes);
      at += bytes;
    });
    from += written * row_bytes;
  }
  length_ += count;
  return true;
}

void add_paged_spans(SpanPlan& plan, int32_t source, const PagedRows& rows, int64_t first_query, int64_t queries) {
  const int64_t length = rows.length(), first_own = length - queries;
  KeySpan span{.source = source};
  for (int64_t begin = 0; begin < length; begin += kPageTokens) {
    int64_t end = std::min(begin + kPageTokens, length), row = rows.row(begin);
    // With j the row of token u and i the query of token t: u <= t when j <= i + shift.
    int64_t shift = end <= first_own || queries == 0 ? KeySpan::kNoLimit : row - begin + first_own - first_query;
    if (span.end == row && span.begin < span.end && span.shift == shift) {
      span.end = row + end - begin;
      continue;
    }
    plan.add_span(span);
    span.begin = row;
    span.end = row + end - begin;
    span.shift = shift;
  }
  plan.add_span(span);
}

int64_t GatheredRows::begin_sequence() {
  while (rows_.size() % kPageTokens != 0) rows_.push_back(kFiller);
  return static_cast<int64_t>(rows_.size());
}

int64_t GatheredRows::add(const PagedRows& rows, int64_t first, int64_t count) {
  int64_t at = begin_sequence();
  for (int64_t t = 0; t < rows.length(); ++t) rows_.push_back(rows.row(t));
  for (int64_t i = first; i < first + count; ++i) rows_.push_back(kernels::fresh_row(i));
  return at;
}

int64_t GatheredRows::add(int64_t first, int64_t count) {
  int64_t at = begin_sequence();
  for (int64_t i = first; i < first + count; ++i) rows_.push_back(kernels::fresh_row(i));
  return at;
}

}  // namespace tandem
