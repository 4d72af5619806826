#include "text/added_tokens.h"

#include <algorithm>

#include "text/regex.h"
#include "text/unicode.h"

namespace tandem {
namespace {

uint8_t first_byte(const AddedTokenFinder::Entry& entry) { return static_cast<uint8_t>(entry.text[0]); }

bool is_word_char_at(std::string_view text, size_t at) {
  size_t next = at;
  uint32_t c = next_code_point(text, next);
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  // Zero-width joiners count as word characters here, as in Unicode Technical Standard 18.
  static const Regex word("[\\w\\x{200C}\\x{200D}]", "word character");
  return !word.find_all(text.substr(at, next - at)).empty();
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  bool left = begin == 0 || !is_word_char_at(text, previous_start(text, begin));
  bool right = end == text.size() || !is_word_char_at(text, end);
  return left && right;
}

size_t whitespace_before(std::string_view text, size_t begin) {
  while (begin > 0) {
    size_t start = previous_start(text, begin);
    size_t next = start;
    if (!is_whitespace(next_code_point(text, next))) break;
    begin = start;
  }
  return begin;
}

size_t whitespace_behind(std::string_view text, size_t end) {
  while (end < text.size()) {
    size_t next = end;
    if (!is_whitespace(next_code_point(text, next))) break;
    end = next;
  }
  return end;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    if (first_byte(a) != first_byte(b)) return first_byte(a) < first_byte(b);
    return a.text.size() > b.text.size();
  });
  size_t next = 0;
  for (size_t byte = 0; byte < 257; ++byte) {
    while (next < entries_.size() && first_byte(entries_[next]) < byte) ++next;
    first_[byte] = next;
  }
}

const AddedTokenFinder::Entry* AddedTokenFinder::longest_at(std::string_view text) const {
  uint8_t byte = static_cast<uint8_t>(text[0]);
  for (size_t i = first_[byte]; i < first_[byte + 1u]; ++i) {
    if (text.starts_with(entries_[i].text)) return &entries_[i];
  }
  return nullptr;
}

std::vector<TokenOrText> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TokenOrText> parts;
  size_t done = 0;  // may go back when a token that begins with whitespace follows one that swallowed it
  for (size_t at = 0; at < text.size();) {
    const Entry* entry = longest_at(text.substr(at));
    if (entry == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + entry->text.size();
    at = end;
    const AddedToken& token = *entry->token;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(whitespace_before(text, begin), done);
    if (token.rstrip) end = whitespace_behind(text, end);
    if (done < begin) parts.push_back({std::nullopt, done, begin});
    parts.push_back({token.id, begin, end});
    done = end;
  }
  if (done < text.size()) parts.push_back({std::nullopt, done, text.size()});
  return parts;
}

}  // namespace tandem
