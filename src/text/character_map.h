// The table of replacements inside SentencePiece models ("precompiled_charsmap"): a double-array trie from UTF-8
// sequences to offsets into a string of replacements, each ended by a zero byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

namespace tandem {

class CharacterMap {
 public:
  // Bytes: u32 size of the trie in bytes, the trie's u32 units (all little endian), the replacements. InputError.
  CharacterMap(std::string_view bytes, const JsonNode& node);
  // From base64, as a tokenizer.json writes it.
  static CharacterMap read(const JsonNode& node);

  // Each grapheme cluster of less than 6 bytes, else each character, replaced as the table says.
  std::string apply(std::string_view text) const;

 private:
  // Replacement of the shortest beginning of `text` that the trie has.
  std::optional<std::string_view> find(std::string_view text) const;
  void append(std::string_view cluster, std::string& out) const;

  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace tandem
