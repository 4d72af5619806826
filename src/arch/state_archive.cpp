#include "arch/state_archive.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace tandem {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

void StateArchive::require(bool holds, const char* what) const {
  if (loading() && room_ && !holds) refuse(what);
}

void StateArchive::refuse(const char* what) const {
  throw InputError({.what = "saved state that cannot be one", .where = where_, .got = what});
}

void StateArchive::finish() const {
  if (!in_.empty()) refuse("bytes behind its end");
}

std::string_view StateArchive::take(uint64_t bytes) {
  if (bytes > in_.size()) refuse("an end before its end");
  std::string_view taken = in_.substr(0, bytes);
  in_.remove_prefix(taken.size());
  return taken;
}

uint64_t StateArchive::take_number() {
  uint64_t value;
  std::memcpy(&value, take(sizeof value).data(), sizeof value);
  return value;
}

void StateArchive::number(int64_t& value, int64_t least, int64_t most) {
  if (!loading()) return put(&value, sizeof value);
  auto loaded = static_cast<int64_t>(take_number());
  require(least <= loaded && loaded <= most, "a number out of range");
  value = loaded;
}

void StateArchive::ids(std::vector<int32_t>& ids) {
  uint64_t count = ids.size();
  if (!loading()) {
    put(&count, sizeof count);
    return put(ids.data(), count * sizeof(int32_t));
  }
  count = take_number();
  if (count > static_cast<uint64_t>(most_tokens_)) refuse("more ids than tokens");
  std::string_view bytes = take(count * sizeof(int32_t));
  ids.resize(count);
  if (count > 0) std::memcpy(ids.data(), bytes.data(), bytes.size());
  bool known = std::all_of(ids.begin(), ids.end(), [&](int32_t id) { return id >= 0 && id < vocabulary_; });
  require(known, "an id outside the vocabulary");
}

// The number of tokens, bytes of a token's row in all columns, and column by column the tokens' rows.
void StateArchive::rows(PagedRows& rows) {
  auto count = static_cast<uint64_t>(rows.length()), row = static_cast<uint64_t>(rows.pool().row_bytes());
  if (!loading()) {
    put(&count, sizeof count);
    put(&row, sizeof row);
    rows.copy_out(0, *out_);
    return;
  }
  count = take_number();
  if (count > static_cast<uint64_t>(most_tokens_)) refuse("more rows than tokens");
  if (take_number() != row) refuse("rows of another size");
  std::string_view bytes = take(count * row);
  room_ = room_ && rows.copy_in(static_cast<int64_t>(count), bytes.data());
}

// The number of tokens, that of tokens to which the rows are pinned and one, bytes of a row; a mark for every page that
// is there, then those pages.
void StateArchive::rows(RecentRows& rows) {
  auto count = static_cast<uint64_t>(rows.length()), row = static_cast<uint64_t>(rows.pool().row_bytes());
  auto pinned = static_cast<uint64_t>(rows.pinned_length() + 1);
  if (!loading()) {
    for (uint64_t value : {count, pinned, row}) put(&value, sizeof value);
    for (int64_t i = 0; i < rows.pages(); ++i) {
      char held = rows.holds(i) ? 1 : 0;
      put(&held, 1);
    }
    for (int64_t i = 0; i < rows.pages(); ++i) {
      if (rows.holds(i)) rows.copy_page_out(i, *out_);
    }
    return;
  }
  count = take_number();
  pinned = take_number();
  if (count > static_cast<uint64_t>(most_tokens_) || pinned > count + 1) refuse("more rows than tokens");
  if (take_number() != row) refuse("rows of another size");
  auto length = static_cast<int64_t>(count), pinned_length = static_cast<int64_t>(pinned) - 1;
  std::string_view held = take((count + kPageTokens - 1) / kPageTokens);
  if (std::any_of(held.begin(), held.end(), [](char mark) { return mark != 0 && mark != 1; })) refuse("a mark");
  auto page_bytes = static_cast<size_t>(rows.pool().page_bytes());
  std::string_view bytes = take(static_cast<uint64_t>(std::count(held.begin(), held.end(), 1)) * page_bytes);
  room_ = room_ && rows.restore(length, pinned_length, held);
  if (!room_) return;
  const char* at = bytes.data();
  for (int64_t i = 0; i < rows.pages(); ++i) {
    if (!rows.holds(i)) continue;
    rows.copy_page_in(i, at);
    at += page_bytes;
  }
  require(rows.can_trim(length), "the latest rows are missing");
  require(!rows.pinned() || rows.can_trim(pinned_length), "rows that are pinned are missing");
}

bool load_state(State& state, std::string_view bytes, int64_t vocabulary, int64_t most_tokens,
                const std::string& where) {
  StateArchive archive(bytes, vocabulary, most_tokens, where);
  state.transfer(archive);
  archive.finish();
  archive.require(state.length() <= most_tokens, "more tokens than the model's rows have");
  return archive.room();
}

}  // namespace tandem
