// A state to bytes and back: State::transfer() walks over the state's parts, in one order for both directions.
//
// Bytes that are loaded are not trusted: lengths, ids and numbers are checked before anything is done with them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "arch/state.h"
#include "cache/paged_rows.h"
#include "cache/recent_rows.h"

namespace tandem {

class StateArchive {
 public:
  // Saves: parts are appended to `out`.
  explicit StateArchive(std::string& out) : out_(&out) {}
  // Loads from `in`; ids lie below `vocabulary`, and no part has more than `most_tokens` tokens. `where` names the
  // bytes in errors.
  StateArchive(std::string_view in, int64_t vocabulary, int64_t most_tokens, std::string where)
      : in_(in), vocabulary_(vocabulary), most_tokens_(most_tokens), where_(std::move(where)) {}

  void number(int64_t& value, int64_t least, int64_t most);
  void ids(std::vector<int32_t>& ids);
  // Rows in pages; when loading, `rows` is empty and takes pages from its pool.
  void rows(PagedRows& rows);
  void rows(RecentRows& rows);
  // InputError when something does not hold of what was loaded (of which there is nothing without room()).
  void require(bool holds, const char* what) const;
  // All bytes must have been read.
  void finish() const;

  bool loading() const { return out_ == nullptr; }
  // False: the pools have too few free pages, and what was loaded is of no use.
  bool room() const { return room_; }

 private:
  [[noreturn]] void refuse(const char* what) const;
  void put(const void* data, size_t bytes) { out_->append(static_cast<const char*>(data), bytes); }
  std::string_view take(uint64_t bytes);
  uint64_t take_number();

  std::string* out_ = nullptr;
  std::string_view in_;
  int64_t vocabulary_ = 0;
  int64_t most_tokens_ = 0;
  std::string where_;
  bool room_ = true;
};

// Brings `state`, which is new, into the state that bytes describe. False when the caches have too few free pages.
// InputError when the bytes describe none of at most `most_tokens` tokens below `vocabulary`.
bool load_state(State& state, std::string_view bytes, int64_t vocabulary, int64_t most_tokens,
                const std::string& where);

}  // namespace tandem
