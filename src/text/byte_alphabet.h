// The byte-level alphabet of GPT-2: each byte has one printable character, so that every byte string can be written
// as text in a vocabulary. Printable Latin-1 bytes stand for themselves, the others for U+0100 and following.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tandem {

class ByteAlphabet {
 public:
  static const ByteAlphabet& get();

  // The character of a byte.
  uint32_t code_point(uint8_t byte) const { return characters_[byte]; }
  std::string_view text(uint8_t byte) const { return texts_[byte]; }

  // Bytes written in the alphabet.
  std::string encode(std::string_view bytes) const;
  // The bytes that a text in the alphabet stands for; nullopt when a character is not in it.
  std::optional<std::string> decode(std::string_view text) const;

 private:
  ByteAlphabet();
  static constexpr uint32_t kCharacters = 0x144;  // one above the largest character used
  std::array<uint32_t, 256> characters_{};
  std::array<std::string, 256> texts_;
  std::array<int16_t, kCharacters> bytes_{};  // -1: not in the alphabet
};

}  // namespace tandem
