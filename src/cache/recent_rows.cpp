#include "cache/recent_rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tandem {

RecentRows::RecentRows(const RecentRows& other)
    : pool_(other.pool_),
      keep_(other.keep_),
      length_(other.length_),
      reserved_(other.length_),
      pinned_(other.pinned_),
      pages_(other.pages_) {
  for (int32_t page : pages_) {
    if (page != PagePool::kNone) pool_->retain(page);
  }
}

RecentRows::~RecentRows() {
  for (int32_t page : pages_) {
    if (page != PagePool::kNone) pool_->release(page);
  }
  release_spares();
}

void RecentRows::release_spares() {
  for (int32_t page : spares_) pool_->release(page);
  spares_.clear();
}

int64_t RecentRows::page_bytes() const {
  auto held = std::count_if(pages_.begin(), pages_.end(), [](int32_t page) { return page != PagePool::kNone; });
  return (static_cast<int64_t>(held) + static_cast<int64_t>(spares_.size())) * pool_->page_bytes();
}

// What is needed at any time, with a pass in place on top; and as much again for a length that was pinned.
int64_t RecentRows::most_pages() const { return pages_for(keep_ + kSlack + kMostInPlace) + 1 + pages_for(keep_) + 1; }

bool RecentRows::reserve(int64_t count) {
  int64_t wanted = spares_for(length_ + count);
  const size_t before = spares_.size();
  // Nothing is asked of the system while tokens come.
  pages_.reserve(static_cast<size_t>(pages_for(length_ + count)));
  spares_.reserve(static_cast<size_t>(most_pages()));
  auto give_up = [&] {
    while (spares_.size() > before) {
      pool_->release(spares_.back());
      spares_.pop_back();
    }
    return false;
  };
  while (static_cast<int64_t>(spares_.size()) < wanted) {
    int32_t page = pool_->allocate();
    if (page == PagePool::kNone) return give_up();
    spares_.push_back(page);
  }
  // The tokens to come begin in the middle of a page that somebody else holds too.
  if (count > 0 && length_ % kPageTokens != 0 && pool_->shared(pages_.back())) {
    int32_t own = pool_->allocate();
    if (own == PagePool::kNone) return give_up();
    pool_->copy(pages_.back(), own, kPageTokens);
    pool_->release(std::exchange(pages_.back(), own));
  }
  reserved_ = std::max(reserved_, length_ + count);
  return true;
}

void RecentRows::append(int64_t count, int64_t first_kept) {
  for (int64_t i = static_cast<int64_t>(pages_.size()); i < pages_for(length_ + count); ++i) {
    pages_.push_back(PagePool::kNone);
    if (i < page_of(first_kept)) continue;
    pages_.back() = spares_.back();
    spares_.pop_back();
  }
  length_ += count;
  reserved_ = std::max(reserved_, length_);
}

void RecentRows::append_in_place(int64_t count) { append(count, 0); }

void RecentRows::append_latest(int64_t count) { append(count, std::max<int64_t>(0, needed(length_ + count) - kSlack)); }

// Pages that nobody else holds become spare ones before more than most_pages() would be needed.
int64_t RecentRows::spares_for(int64_t length) const {
  auto own = std::count_if(pages_.begin(), pages_.end(),
                           [&](int32_t page) { return page != PagePool::kNone && !pool_->shared(page); });
  return std::min(pages_for(length) - static_cast<int64_t>(pages_.size()), most_pages() - static_cast<int64_t>(own));
}

// A page that nobody else holds stays with a sequence to which room was promised.
void RecentRows::drop(size_t index) {
  int32_t page = std::exchange(pages_[index], PagePool::kNone);
  if (page == PagePool::kNone) return;
  if (!pool_->shared(page) && static_cast<int64_t>(spares_.size()) < spares_for(reserved_)) {
    spares_.push_back(page);
  } else {
    pool_->release(page);
  }
}

void RecentRows::settle() {
  int64_t first = page_of(std::max<int64_t>(0, needed(length_) - kSlack));
  int64_t pin_first = pinned() ? page_of(needed(pinned_)) : 0, pin_end = pinned() ? pages_for(pinned_) : 0;
  for (int64_t i = 0; i < std::min(first, static_cast<int64_t>(pages_.size())); ++i) {
    if (i < pin_first || i >= pin_end) drop(static_cast<size_t>(i));
  }
  // A pass that keeps only the latest tokens needs fewer pages than were promised to it.
  const int64_t promised = spares_for(reserved_);
  while (static_cast<int64_t>(spares_.size()) > promised) {
    pool_->release(spares_.back());
    spares_.pop_back();
  }
}

bool RecentRows::unshare() { return pool_->unshare(pages_); }

namespace {

// The rows of a page in column c.
struct PageColumn {
  char* data;
  size_t bytes;
};
PageColumn page_column(const PagePool& pool, size_t c, int64_t page) {
  const Tensor& column = pool.column(c);
  int64_t bytes = kPageTokens * column.row_size() * dtype_bytes(column.dtype);
  return {static_cast<char*>(column.data) + page * bytes, static_cast<size_t>(bytes)};
}

}  // namespace

void RecentRows::copy_page_out(int64_t index, std::string& out) const {
  for (size_t c = 0; c < pool_->columns(); ++c) {
    PageColumn rows = page_column(*pool_, c, pages_[static_cast<size_t>(index)]);
    out.append(rows.data, rows.bytes);
  }
}

void RecentRows::copy_page_in(int64_t index, const char* from) {
  for (size_t c = 0; c < pool_->columns(); ++c) {
    PageColumn rows = page_column(*pool_, c, pages_[static_cast<size_t>(index)]);
    std::memcpy(rows.data, from, rows.bytes);
    from += rows.bytes;
  }
}

bool RecentRows::restore(int64_t length, int64_t pinned_length, std::string_view held) {
  std::vector<int32_t> pages;
  for (char mark : held) {
    pages.push_back(mark == 1 ? pool_->allocate() : PagePool::kNone);
    if (mark != 1 || pages.back() != PagePool::kNone) continue;
    for (int32_t page : pages) {
      if (page != PagePool::kNone) pool_->release(page);
    }
    return false;
  }
  pages_ = std::move(pages);
  length_ = reserved_ = length;
  pinned_ = pinned_length;
  return true;
}

bool RecentRows::can_trim(int64_t length) const {
  if (length > length_) return false;
  for (int64_t i = page_of(needed(length)); i < pages_for(length); ++i) {
    if (pages_[static_cast<size_t>(i)] == PagePool::kNone) return false;
  }
  return true;
}

void RecentRows::trim(int64_t length) {
  length_ = std::clamp<int64_t>(length, 0, length_);
  reserved_ = length_;
  for (auto i = static_cast<size_t>(pages_for(length_)); i < pages_.size(); ++i) {
    if (pages_[i] != PagePool::kNone) pool_->release(pages_[i]);
  }
  pages_.resize(std::min(pages_.size(), static_cast<size_t>(pages_for(length_))));
  release_spares();
  if (pinned_ > length_) unpin();
}

}  // namespace tandem
