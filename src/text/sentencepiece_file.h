// What a SentencePiece .model holds (sentencepiece_model.proto of the SentencePiece project), checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

struct SentencePieceFile {
  enum class Kind { unigram = 1, bpe = 2, word = 3, character = 4 };
  enum class Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

  struct Piece {
    std::string text;  // not empty
    float score = 0;
    Type type = Type::normal;
    // Neither found in text nor made of its bytes.
    bool reserved() const { return type == Type::unknown || type == Type::control || type == Type::byte; }
  };

  Kind kind = Kind::unigram;
  std::vector<Piece> pieces;                       // by id; exactly one is unknown
  int32_t unknown = 0;                             // its id
  std::string unknown_surface = " \xE2\x81\x87 ";  // how it is written: U+2047 between spaces
  bool byte_fallback = false;                      // then all 256 byte pieces are there, <0x00> to <0xFF>
  bool whitespace_as_suffix = false;
  // Of the normalizer.
  bool dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::string character_map;  // bytes of a CharacterMap; empty: none

  bool has(Type type) const;
};

// InputError that names `where`: not such a file, or one that contradicts itself.
SentencePieceFile read_sentencepiece(std::string_view bytes, const std::string& where);

}  // namespace tandem
