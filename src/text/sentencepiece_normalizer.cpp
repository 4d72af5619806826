#include "text/sentencepiece_normalizer.h"

#include <vector>

#include "text/unicode.h"

namespace tandem {

SentencePieceNormalizer::SentencePieceNormalizer(const SentencePieceFile& file, const std::string& where)
    : dummy_prefix_(file.dummy_prefix),
      remove_extra_whitespaces_(file.remove_extra_whitespaces),
      whitespace_as_suffix_(file.whitespace_as_suffix),
      space_(file.escape_whitespaces ? "\u2581" : " ") {
  if (!file.character_map.empty()) map_.emplace(file.character_map, where);
  std::vector<std::string> user_defined;
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    if (piece.type == SentencePieceFile::Type::user_defined) user_defined.push_back(piece.text);
  }
  user_defined_ = DoubleArray(user_defined);
  for (size_t c = 0; c < plain_.size(); ++c) {
    plain_[c] =
        c != ' ' && user_defined_.step(DoubleArray::kRoot, static_cast<unsigned char>(c)) == DoubleArray::kNowhere;
    for (size_t next = 0; next < plain_.size() && plain_[c] && map_; ++next) {
      const char pair[] = {static_cast<char>(c), static_cast<char>(next)};
      plain_[c] = map_->longest(std::string_view(pair, 1)).bytes == 0 && !map_->has_prefix(std::string_view(pair, 2));
    }
  }
}

size_t SentencePieceNormalizer::user_defined_at(std::string_view text) const {
  size_t longest = 0;
  uint32_t node = DoubleArray::kRoot;
  for (size_t at = 0; at < text.size();) {
    node = user_defined_.step(node, static_cast<unsigned char>(text[at++]));
    if (node == DoubleArray::kNowhere) break;
    if (user_defined_.value(node) >= 0) longest = at;
  }
  return longest;
}

CharacterMap::Match SentencePieceNormalizer::first(std::string_view text) const {
  if (size_t bytes = user_defined_at(text)) return {bytes, text.substr(0, bytes)};
  if (map_) {
    CharacterMap::Match match = map_->longest(text);
    if (match.bytes > 0) return match;
  }
  size_t end = 0;
  next_code_point(text, end);
  return {end, text.substr(0, end)};
}

std::string SentencePieceNormalizer::apply(std::string_view text) const {
  if (remove_extra_whitespaces_) {
    while (!text.empty()) {
      CharacterMap::Match match = first(text);
      if (match.replacement != " ") break;
      text.remove_prefix(match.bytes);
    }
  }
  if (text.empty()) return "";
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  if (!whitespace_as_suffix_ && dummy_prefix_) out += space_;
  bool after_space = remove_extra_whitespaces_;
  auto ascii = [&](size_t i) { return i >= text.size() || static_cast<unsigned char>(text[i]) < 0x80; };
  for (size_t at = 0; at < text.size();) {
    if (ascii(at) && ascii(at + 1) && plain_[static_cast<unsigned char>(text[at])]) {
      out += text[at++];
      after_space = false;
      continue;
    }
    CharacterMap::Match match = first(text.substr(at));
    at += match.bytes;
    std::string_view piece = match.replacement;
    while (after_space && piece.starts_with(' ')) piece.remove_prefix(1);
    if (piece.empty()) continue;
    for (char c : piece) {
      if (c == ' ') {
        out += space_;
      } else {
        out += c;
      }
    }
    after_space = remove_extra_whitespaces_ && piece.ends_with(' ');
  }
  while (remove_extra_whitespaces_ && out.ends_with(space_)) out.resize(out.size() - space_.size());
  if (whitespace_as_suffix_ && dummy_prefix_) out += space_;
  return out;
}

}  // namespace tandem
