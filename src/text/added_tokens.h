// Tokens that are found in the text before any other step: special tokens and user-defined words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/double_array.h"

namespace tandem {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // only between characters that are not word characters
  bool lstrip = false;       // swallows whitespace before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // is searched for, in its normalized form, in normalized text
  bool special = false;      // left out by decode with skip_special
};

// A part of a text: an added token, or (no id) text between them.
struct TokenOrText {
  std::optional<int32_t> id;
  size_t begin = 0;
  size_t end = 0;
};

// Finds a set of tokens in text: leftmost first, the longest at each place.
class AddedTokenFinder {
 public:
  struct Entry {
    std::string text;  // not empty
    const AddedToken* token;
  };

  AddedTokenFinder() = default;
  // `Entry::token` must outlive the finder.
  explicit AddedTokenFinder(std::vector<Entry> entries);

  bool empty() const { return entries_.empty(); }
  // Parts in order; parts without text are left out. `text` is valid UTF-8.
  std::vector<TokenOrText> split(std::string_view text) const;

 private:
  // The longest entry that begins at `at`; nullptr when none does.
  const Entry* longest_at(std::string_view text, size_t at) const;

  std::vector<Entry> entries_;
  DoubleArray trie_;  // of their texts, to their positions
};

}  // namespace tandem
