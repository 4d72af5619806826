#include "text/added_tokens.h"

#include <algorithm>

#include "text/regex.h"
#include "text/unicode.h"

namespace tandem {
namespace {

bool is_word_char_at(std::string_view text, size_t at) {
  size_t next = at;
  uint32_t c = next_code_point(text, next);
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  static const Regex word("[" + unicode_word_class() + "]", "word character");
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
  std::vector<std::string_view> texts;
  std::vector<int32_t> positions;
  for (const Entry& entry : entries_) {
    texts.push_back(entry.text);
    positions.push_back(static_cast<int32_t>(positions.size()));
  }
  trie_ = DoubleArray(texts, positions);
}

const AddedTokenFinder::Entry* AddedTokenFinder::longest_at(std::string_view text, size_t at) const {
  const Entry* longest = nullptr;
  uint32_t node = DoubleArray::kRoot;
  for (; at < text.size(); ++at) {
    node = trie_.step(node, static_cast<unsigned char>(text[at]));
    if (node == DoubleArray::kNowhere) break;
    if (trie_.value(node) >= 0) longest = &entries_[static_cast<size_t>(trie_.value(node))];
  }
  return longest;
}

std::vector<TokenOrText> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TokenOrText> parts;
  if (entries_.empty()) {
    if (!text.empty()) parts.push_back({std::nullopt, 0, text.size()});
    return parts;
  }
  size_t done = 0;  // may go back when a token that begins with whitespace follows one that swallowed it
  for (size_t at = 0; at < text.size();) {
    const Entry* entry = longest_at(text, at);
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
