// UTF-8 and the few character classes that tokenizers ask for. Categories come from utf8proc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tandem {

// One code point at `at` of valid UTF-8 text; `at` moves behind it.
inline uint32_t next_code_point(std::string_view text, size_t& at) {
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  uint32_t first = byte(at);
  if (first < 0x80) {
    at += 1;
    return first;
  }
  if (first < 0xE0) {
    uint32_t c = (first & 0x1F) << 6 | (byte(at + 1) & 0x3F);
    at += 2;
    return c;
  }
  if (first < 0xF0) {
    uint32_t c = (first & 0x0F) << 12 | (byte(at + 1) & 0x3F) << 6 | (byte(at + 2) & 0x3F);
    at += 3;
    return c;
  }
  uint32_t c = (first & 0x07) << 18 | (byte(at + 1) & 0x3F) << 12 | (byte(at + 2) & 0x3F) << 6 | (byte(at + 3) & 0x3F);
  at += 4;
  return c;
}

// Start of the code point that ends just before `at` (at > 0) in valid UTF-8 text.
inline size_t previous_start(std::string_view text, size_t at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

void append_code_point(std::string& out, uint32_t code_point);

// Length of the leading part that is valid UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF).
size_t valid_utf8_prefix(std::string_view bytes);

// Whether bytes can follow that make all of it one character. Not empty.
bool may_begin_character(std::string_view bytes);

// InputError with the byte offset of the first invalid byte; `where` names the text ("file.txt").
void require_utf8(std::string_view text, const std::string& where);

bool is_ascii(std::string_view text);

// Turns bytes into UTF-8 piece by piece: every maximal part of a broken sequence becomes one U+FFFD (Unicode
// standard, section 3.9, "substitution of maximal subparts"). Bytes that may still become a character wait.
class Utf8Repair {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);  // what waits becomes U+FFFD

 private:
  std::string waiting_;  // at most 3 bytes: the beginning of a character
};

// Classes of code points, as bits.
enum CharClass : uint8_t {
  kOther = 0,
  kLetter = 1,      // general category L*
  kNumber = 2,      // general category N*
  kWhitespace = 4,  // property White_Space
};

// Table of the Basic Multilingual Plane; higher code points are computed. Made once, read-only afterwards.
class CharClasses {
 public:
  static const CharClasses& get();
  uint8_t of(uint32_t code_point) const { return code_point < kTableSize ? table_[code_point] : compute(code_point); }

 private:
  static constexpr uint32_t kTableSize = 0x10000;
  CharClasses();
  static uint8_t compute(uint32_t code_point);
  uint8_t table_[kTableSize];
};

bool is_whitespace(uint32_t code_point);

}  // namespace tandem
