// The table of replacements inside SentencePiece models ("precompiled_charsmap"): a double-array trie from UTF-8
// sequences to offsets into a string of replacements, each ended by a zero byte.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

namespace tandem {

class CharacterMap {
 public:
  // Bytes: u32 size of the trie in bytes, the trie's u32 units (all little endian), the replacements. InputError that
  // names `where`.
  CharacterMap(std::string_view bytes, const std::string& where);
  // From base64, as a tokenizer.json writes it.
  static CharacterMap read(const JsonNode& node);

  // As the Hugging Face library does: each grapheme cluster of less than 6 bytes, else each character, replaced as the
  // table says.
  std::string apply(std::string_view text) const;

  struct Match {
    size_t bytes = 0;  // of text; 0: the table has no beginning of it
    std::string_view replacement;
  };
  // As SentencePiece does: the longest beginning of `text` that the table has.
  Match longest(std::string_view text) const;
  // Whether the table has text that begins like this (and may go on).
  bool has_prefix(std::string_view text) const;

 private:
  // Calls visit(match) for every beginning of `text` that the trie has, the shortest first, until it returns false.
  template <class Visit>
  void for_each_match(std::string_view text, Visit&& visit) const;
  // Replacement of the shortest one.
  std::optional<std::string_view> find(std::string_view text) const;
  void append(std::string_view cluster, std::string& out) const;
  size_t append_ascii(std::string_view text, size_t at, std::string& out) const;

  std::vector<uint32_t> trie_;
  std::string replacements_;
  std::array<std::string, 128> ascii_;  // what an ASCII character alone becomes
};

}  // namespace tandem
