// What SentencePiece does to a text before it looks for pieces: characters replaced by a table, spaces removed, and
// written as U+2581 (normalizer.cc of the SentencePiece project, 0.2).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "text/character_map.h"
#include "text/double_array.h"
#include "text/sentencepiece_file.h"

namespace tandem {

class SentencePieceNormalizer {
 public:
  // InputError that names `where` for a broken character map.
  SentencePieceNormalizer(const SentencePieceFile& file, const std::string& where);

  // `text` is valid UTF-8, and so is the result.
  std::string apply(std::string_view text) const;

 private:
  // What the beginning of `text` becomes, and how many bytes that takes.
  CharacterMap::Match first(std::string_view text) const;
  size_t user_defined_at(std::string_view text) const;

  bool dummy_prefix_, remove_extra_whitespaces_, whitespace_as_suffix_;
  std::string space_;  // how a space is written
  std::optional<CharacterMap> map_;
  DoubleArray user_defined_;  // these stay as they are
  // ASCII characters that stay as they are whatever ASCII character follows.
  std::array<bool, 128> plain_{};
};

}  // namespace tandem
