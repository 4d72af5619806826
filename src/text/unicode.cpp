#include "text/unicode.h"

#include <utf8proc.h>

#include <cstring>

#include "base/error.h"
#include "text/unicode_versions.h"

namespace tandem {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// What the first byte of a character promises (Unicode standard, table 3-7).
struct Lead {
  int length = 0;                   // 0: not a first byte
  uint8_t low = 0x80, high = 0xBF;  // range of the second byte
};

Lead lead_of(uint8_t first) {
  if (first < 0x80) return {1};
  if (first < 0xC2) return {0};
  if (first < 0xE0) return {2};
  if (first == 0xE0) return {3, 0xA0, 0xBF};
  if (first == 0xED) return {3, 0x80, 0x9F};
  if (first < 0xF0) return {3};
  if (first == 0xF0) return {4, 0x90, 0xBF};
  if (first < 0xF4) return {4};
  if (first == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

struct Sequence {
  size_t bytes = 0;       // bytes that belong together
  bool complete = false;  // they are a character
  bool cut = false;       // they are the beginning of one and the text ends
};

Sequence sequence_at(std::string_view text, size_t at) {
  Lead lead = lead_of(static_cast<uint8_t>(text[at]));
  if (lead.length == 0) return {1};
  for (size_t i = 1; i < static_cast<size_t>(lead.length); ++i) {
    if (at + i == text.size()) return {i, false, true};
    uint8_t byte = static_cast<uint8_t>(text[at + i]);
    if (byte < (i == 1 ? lead.low : 0x80) || byte > (i == 1 ? lead.high : 0xBF)) return {i};
  }
  return {static_cast<size_t>(lead.length), true};
}

// First position at or behind `at` whose byte is not ASCII.
size_t skip_ascii(std::string_view text, size_t at) {
  while (at + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    if (word & 0x8080808080808080u) break;
    at += 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

void append_code_point(std::string& out, uint32_t c) {
  auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t valid_utf8_prefix(std::string_view bytes) {
  for (size_t at = 0;;) {
    at = skip_ascii(bytes, at);
    if (at == bytes.size()) return at;
    Sequence sequence = sequence_at(bytes, at);
    if (!sequence.complete) return at;
    at += sequence.bytes;
  }
}

bool may_begin_character(std::string_view bytes) {
  Sequence sequence = sequence_at(bytes, 0);
  return sequence.cut && sequence.bytes == bytes.size();
}

void require_utf8(std::string_view text, const std::string& where) {
  size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) return;
  throw InputError({.what = "text is not UTF-8",
                    .where = where,
                    .got = fmt::format("byte 0x{:02X} at offset {}", static_cast<uint8_t>(text[valid]), valid),
                    .expected = "valid UTF-8"});
}

bool is_ascii(std::string_view text) { return skip_ascii(text, 0) == text.size(); }

void Utf8Repair::push(std::string_view bytes, std::string& out) {
  std::string joined;
  if (!waiting_.empty()) {
    joined = waiting_ + std::string(bytes);
    bytes = joined;
    waiting_.clear();
  }
  for (size_t at = 0; at < bytes.size();) {
    size_t valid = valid_utf8_prefix(bytes.substr(at));
    out += bytes.substr(at, valid);
    at += valid;
    if (at == bytes.size()) return;
    Sequence broken = sequence_at(bytes, at);
    if (broken.cut) {
      waiting_ = bytes.substr(at);
      return;
    }
    out += kReplacement;
    at += broken.bytes;
  }
}

void Utf8Repair::finish(std::string& out) {
  if (!waiting_.empty()) out += kReplacement;
  waiting_.clear();
}

bool is_whitespace(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

uint8_t CharClasses::compute(uint32_t c) {
  if (is_whitespace(c)) return kWhitespace;
  if (is_new_letter(c)) return kLetter;
  if (is_new_number(c)) return kNumber;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return kNumber;
    default: return kOther;
  }
}

CharClasses::CharClasses() {
  for (uint32_t c = 0; c < kTableSize; ++c) table_[c] = compute(c);
}

const CharClasses& CharClasses::get() {
  static const CharClasses classes;
  return classes;
}

}  // namespace tandem
