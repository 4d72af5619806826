#include "formats/clean_text.h"

namespace tandem {
namespace {

unsigned char byte_at(std::string_view text, size_t i) {
  return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
}

// Length of the well-formed character at `i`, 0 when there is none.
size_t character_length(std::string_view text, size_t i) {
  auto in = [](unsigned char b, unsigned char low, unsigned char high) { return b >= low && b <= high; };
  unsigned char first = byte_at(text, i), second = byte_at(text, i + 1);
  if (first < 0x80) return 1;
  if (in(first, 0xC2, 0xDF)) return in(second, 0x80, 0xBF) ? 2 : 0;
  if (in(first, 0xE0, 0xEF)) {
    // No overlong forms, no surrogates.
    unsigned char low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return in(second, low, high) && in(byte_at(text, i + 2), 0x80, 0xBF) ? 3 : 0;
  }
  if (in(first, 0xF0, 0xF4)) {
    // No overlong forms, nothing beyond U+10FFFF.
    unsigned char low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    bool rest = in(byte_at(text, i + 2), 0x80, 0xBF) && in(byte_at(text, i + 3), 0x80, 0xBF);
    return in(second, low, high) && rest ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    size_t length = character_length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string clean_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t length = character_length(text, i);
    if (length == 0) {
      out += "\uFFFD";
      ++i;
      continue;
    }
    unsigned char first = byte_at(text, i);
    bool control = (length == 1 && (first < 0x20 || first == 0x7F) && first != '\t' && first != '\n') ||
                   (first == 0xC2 && byte_at(text, i + 1) < 0xA0 && length == 2);
    if (!control) out.append(text.substr(i, length));
    i += length;
  }
  return out;
}

std::string shorten(std::string_view clean, size_t most) {
  size_t count = 0, cut = clean.size();
  for (size_t i = 0; i < clean.size(); ++i) {
    if ((byte_at(clean, i) & 0xC0) == 0x80) continue;
    ++count;
    if (count == most) cut = i;
  }
  return count <= most ? std::string(clean) : std::string(clean.substr(0, cut)) + "…";
}

}  // namespace tandem
