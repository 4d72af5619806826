// What a cache holds of one sequence when only its latest tokens matter: rows in pages of a pool, of which those before
// what is needed go back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cache/page_pool.h"

namespace tandem {

// Page i holds the rows of tokens [i, i + 1) * kPageTokens. With L tokens the latest min(L, keep) rows are there, whole
// pages of them, and kSlack rows more, so that a few tokens can be taken back. Copies share pages; the first to write
// to a page that is shared gets one of its own, a copy of all its rows.
class RecentRows {
 public:
  static constexpr int64_t kSlack = 16;

  RecentRows(PagePool& pool, int64_t keep) : pool_(&pool), keep_(keep) {}
  RecentRows(const RecentRows& other);
  RecentRows& operator=(const RecentRows&) = delete;
  ~RecentRows();

  PagePool& pool() const { return *pool_; }
  int64_t length() const { return length_; }
  // The first row that what comes next needs, rounded down to a whole page.
  int64_t needed_from() const { return page_of(needed(length_)) * kPageTokens; }
  int64_t page_bytes() const;  // of the pages held, also of those for tokens to come

  // Makes room for `count` tokens more, however they are cut into passes of at most kMostInPlace tokens in place.
  // False, and nothing changed, when the pool has too few pages. Never asks for more than a constant number of them.
  static constexpr int64_t kMostInPlace = kPageTokens;
  bool reserve(int64_t count);
  // Adds `count` tokens, for which there is room: with a row for each (in place), or only for those that stay when they
  // have been dealt with. What was there before stays until settle().
  void append_in_place(int64_t count);
  void append_latest(int64_t count);
  void settle();  // gives back what is no longer needed
  // Copies the pages that others hold too. False, and nothing changed, when the pool has too few pages.
  bool unshare();

  bool has(int64_t token) const { return page(token) != PagePool::kNone; }
  int32_t page(int64_t token) const { return pages_[static_cast<size_t>(page_of(token))]; }  // or kNone
  int32_t row(int64_t token) const { return static_cast<int32_t>(page(token) * kPageTokens + token % kPageTokens); }

  // For saving: pages by their number, and what they hold in all columns.
  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  bool holds(int64_t index) const { return pages_[static_cast<size_t>(index)] != PagePool::kNone; }
  void copy_page_out(int64_t index, std::string& out) const;
  void copy_page_in(int64_t index, const char* from);
  // For loading, into rows of no tokens: `length` tokens with pages where `held` is 1; pinned_length -1: not pinned.
  // False, and nothing changed, when the pool has too few pages.
  bool restore(int64_t length, int64_t pinned_length, std::string_view held);

  // Whether the first `length` tokens are a sequence that can go on: what it needs is there.
  bool can_trim(int64_t length) const;
  void trim(int64_t length);  // keeps the first `length` tokens; room that is left goes back to the pool
  // From now on until unpin() the sequence can be trimmed to the length that it has now.
  void pin() { pinned_ = length_; }
  void unpin() { pinned_ = kNotPinned; }
  bool pinned() const { return pinned_ != kNotPinned; }
  int64_t pinned_length() const { return pinned_; }

 private:
  static constexpr int64_t kNotPinned = -1;
  static int64_t page_of(int64_t token) { return token / kPageTokens; }
  static int64_t pages_for(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }
  int64_t needed(int64_t length) const { return length > keep_ ? length - keep_ : 0; }
  int64_t most_pages() const;
  int64_t spares_for(int64_t length) const;  // so that tokens up to there find room
  void append(int64_t count, int64_t first_kept);
  void drop(size_t page);
  void release_spares();

  PagePool* pool_;
  int64_t keep_;
  int64_t length_ = 0;
  int64_t reserved_ = 0;  // room was promised up to this length
  int64_t pinned_ = kNotPinned;
  std::vector<int32_t> pages_;   // of all tokens; kNone where it was given back
  std::vector<int32_t> spares_;  // for tokens to come
};

}  // namespace tandem
