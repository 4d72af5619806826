#include "text/character_map.h"

#include <utf8proc.h>

#include <cstring>

#include "base/error.h"
#include "base/json.h"
#include "text/unicode.h"

namespace tandem {
namespace {

// RFC 4648, section 4.
std::optional<std::string> decode_base64(std::string_view text) {
  auto digit = [](char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    if (digit(c) < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit(c));
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xFF);
    }
  }
  return out;
}

// Units of darts-clone: label in the low byte with bit 31 for "value", bit 8 "has a value", offset in bits 10 to 30,
// shifted by 8 when bit 9 is set.
bool has_value(uint32_t unit) { return unit >> 8 & 1; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label_of(uint32_t unit) { return unit & 0x800000FF; }
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

CharacterMap::CharacterMap(std::string_view bytes, const std::string& where) {
  auto wrong = [&](const char* expected) {
    throw InputError({.what = "broken character map",
                      .where = where,
                      .got = fmt::format("{} bytes", bytes.size()),
                      .expected = expected});
  };
  uint32_t size = 0;
  if (bytes.size() >= 4) std::memcpy(&size, bytes.data(), 4);
  if (bytes.size() < 4 || size == 0 || size % 4 != 0 || size > bytes.size() - 4) {
    wrong("a size, a trie of that size, replacements");
  }
  trie_.resize(size / 4);
  std::memcpy(trie_.data(), bytes.data() + 4, size);
  replacements_ = bytes.substr(4 + size);
  if (valid_utf8_prefix(replacements_) != replacements_.size()) {
    wrong("replacements in UTF-8");
  }
  for (size_t c = 0; c < ascii_.size(); ++c) {
    std::string character(1, static_cast<char>(c));
    ascii_[c] = find(character).value_or(character);
  }
}

CharacterMap CharacterMap::read(const JsonNode& node) {
  auto bytes = decode_base64(node.string());
  if (!bytes) node.wrong("broken character map", "base64");
  return {*bytes, node.where()};
}

bool CharacterMap::has_prefix(std::string_view text) const {
  uint32_t at = offset_of(trie_[0]);
  for (char byte : text) {
    uint32_t label = static_cast<unsigned char>(byte);
    at ^= label;
    if (label == 0 || at >= trie_.size() || label_of(trie_[at]) != label) return false;
    at ^= offset_of(trie_[at]);
  }
  return true;
}

template <class Visit>
void CharacterMap::for_each_match(std::string_view text, Visit&& visit) const {
  uint32_t at = offset_of(trie_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t label = static_cast<unsigned char>(text[i]);
    at ^= label;
    if (label == 0 || at >= trie_.size() || label_of(trie_[at]) != label) return;
    uint32_t unit = trie_[at];
    at ^= offset_of(unit);
    if (!has_value(unit)) continue;
    if (at >= trie_.size()) return;
    size_t begin = value_of(trie_[at]);
    if (begin >= replacements_.size()) return;
    size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
    bool inside = (static_cast<unsigned char>(replacements_[begin]) & 0xC0) == 0x80;  // of a character: broken table
    if (inside || !visit(Match{i + 1, std::string_view(replacements_).substr(begin, end - begin)})) return;
  }
}

std::optional<std::string_view> CharacterMap::find(std::string_view text) const {
  std::optional<std::string_view> found;
  for_each_match(text, [&](const Match& match) {
    found = match.replacement;
    return false;
  });
  return found;
}

CharacterMap::Match CharacterMap::longest(std::string_view text) const {
  Match found;
  for_each_match(text, [&](const Match& match) {
    found = match;
    return true;
  });
  return found;
}

void CharacterMap::append(std::string_view cluster, std::string& out) const {
  constexpr size_t kShort = 6;
  if (cluster.size() < kShort) {
    if (auto replacement = find(cluster)) {
      out += *replacement;
      return;
    }
  }
  for (size_t at = 0; at < cluster.size();) {
    size_t begin = at;
    next_code_point(cluster, at);
    std::string_view character = cluster.substr(begin, at - begin);
    out += find(character).value_or(character);
  }
}

// Between two ASCII characters a cluster ends, unless they are CR and LF. Appends what can be told from that alone,
// beginning at `at`, the start of a cluster; the start of the next one.
size_t CharacterMap::append_ascii(std::string_view text, size_t at, std::string& out) const {
  auto ascii = [&](size_t i) { return i >= text.size() || static_cast<unsigned char>(text[i]) < 0x80; };
  while (at < text.size() && ascii(at) && ascii(at + 1) && text[at] != '\r') {
    out += ascii_[static_cast<unsigned char>(text[at])];
    ++at;
  }
  return at;
}

std::string CharacterMap::apply(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t at = append_ascii(text, 0, out); at < text.size(); at = append_ascii(text, at, out)) {
    size_t begin = at;
    uint32_t previous = next_code_point(text, at);
    utf8proc_int32_t state = 0;
    while (at < text.size()) {
      size_t behind = at;
      uint32_t c = next_code_point(text, behind);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous), static_cast<utf8proc_int32_t>(c),
                                           &state)) {
        break;
      }
      previous = c;
      at = behind;
    }
    append(text.substr(begin, at - begin), out);
  }
  return out;
}

}  // namespace tandem
