#include "text/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "base/error.h"
#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/unicode.h"
#include "text/unicode_versions.h"

namespace tandem {
namespace {

bool is_ascii_byte(char c) { return static_cast<unsigned char>(c) < 0x80; }

bool is_mark(uint32_t c) {
  if (is_unknown_to_normal_forms(c)) return false;
  utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

// The characters that SentencePiece's "nmt" rules remove or make a space (its builder.cc).
bool is_nmt_control(uint32_t c) {
  return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

bool is_nmt_space(uint32_t c) {
  return c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
         c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

void append_normal_form(std::string& out, std::string_view text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &mapped, static_cast<utf8proc_option_t>(options));
  std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, std::free);
  if (size < 0) throw std::bad_alloc();  // the text is valid: only memory can be missing
  out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
}

// The same between characters that the normal forms do not know, which stay.
void append_known_parts(std::string& out, std::string_view text, int options) {
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    size_t start = at;
    if (!is_unknown_to_normal_forms(next_code_point(text, at))) continue;
    append_normal_form(out, text.substr(begin, start - begin), options);
    out += text.substr(start, at - start);
    begin = at;
  }
  append_normal_form(out, text.substr(begin), options);
}

}  // namespace

std::string unicode_normal_form(std::string_view text, bool compose, bool compatibility) {
  int options = (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | UTF8PROC_STABLE;
  if (compatibility) options |= UTF8PROC_COMPAT;
  std::string out;
  out.reserve(text.size());
  // ASCII stays what it is. Only the character before a run of others can combine with it.
  for (size_t at = 0; at < text.size();) {
    size_t other = at;
    while (other < text.size() && is_ascii_byte(text[other])) ++other;
    if (other == text.size()) {
      out += text.substr(at);
      break;
    }
    size_t begin = other > at ? other - 1 : other;
    out += text.substr(at, begin - at);
    size_t end = other;
    while (end < text.size() && !is_ascii_byte(text[end])) ++end;
    append_known_parts(out, text.substr(begin, end - begin), options);
    at = end;
  }
  return out;
}

std::string replace_all(std::string_view text, const Regex& pattern, std::string_view content) {
  std::string out;
  size_t at = 0;
  for (const TextRange& match : pattern.find_all(text)) {
    if (match.begin < at) continue;
    out += text.substr(at, match.begin - at);
    out += content;
    at = match.end;
  }
  out += text.substr(at);
  return out;
}

std::string replace_literal(std::string_view text, std::string_view literal, std::string_view content) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (size_t at = 0;;) {
    size_t found = text.find(literal, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += content;
    at = found + literal.size();
  }
}

std::string read_literal(const JsonNode& node) { return node.string_or("String", ""); }

Regex read_pattern(const JsonNode& node) {
  if (node.has("String")) return {escape_regex(node.at("String").string()), node.where()};
  if (node.has("Regex")) return {node.at("Regex").string(), node.where()};
  node.wrong("unknown pattern", R"({"String": ...} or {"Regex": ...})");
}

std::string Normalizer::run(const UnicodeForm& step, std::string text) {
  return is_ascii(text) ? text : unicode_normal_form(text, step.compose, step.compatibility);
}

std::string Normalizer::run(const Strip& step, std::string text) {
  size_t begin = 0;
  size_t end = text.size();
  while (step.left && begin < end) {
    size_t next = begin;
    if (!is_whitespace(next_code_point(text, next))) break;
    begin = next;
  }
  while (step.right && end > begin) {
    size_t start = previous_start(text, end);
    size_t next = start;
    if (!is_whitespace(next_code_point(text, next))) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

std::string Normalizer::run(const StripAccents&, std::string text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    uint32_t c = next_code_point(text, at);
    if (!is_mark(c)) append_code_point(out, c);
  }
  return out;
}

std::string Normalizer::run(const Lowercase&, std::string text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    uint32_t c = next_code_point(text, at);
    if (c == 0x130) {
      out += "i\xCC\x87";  // the one character whose lower case, by Unicode's SpecialCasing.txt, is two: i and U+0307
    } else {
      uint32_t lower = lower_case_of_new(c);
      if (lower == c) lower = static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
      append_code_point(out, lower);
    }
  }
  return out;
}

std::string Normalizer::run(const Nmt&, std::string text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    uint32_t c = next_code_point(text, at);
    if (is_nmt_space(c)) {
      out += ' ';
    } else if (!is_nmt_control(c)) {
      out.append(text, begin, at - begin);
    }
  }
  return out;
}

std::string Normalizer::run(const ByteCharacters&, std::string text) { return ByteAlphabet::get().encode(text); }

std::string Normalizer::run(const Prepend& step, std::string text) { return text.empty() ? text : step.text + text; }

std::string Normalizer::run(const Replace& step, std::string text) {
  if (!step.literal.empty()) return replace_literal(text, step.literal, step.content);
  return replace_all(text, step.pattern, step.content);
}

std::string Normalizer::run(const CharacterMap& step, std::string text) { return step.apply(text); }

std::string Normalizer::run(const SentencePieceNormalizer& step, std::string text) { return step.apply(text); }

namespace {

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) next_code_point(text, at);
  return count;
}

// How many of the first `most` characters `removed` is true for.
template <class Removed>
size_t count_removed(std::string_view text, size_t most, Removed removed) {
  size_t count = 0;
  for (size_t at = 0; at < text.size() && most > 0; --most) count += removed(next_code_point(text, at));
  return count;
}

}  // namespace

size_t Normalizer::follow_first(const Step& step, std::string_view text, size_t first) {
  if (const Prepend* prepend = std::get_if<Prepend>(&step)) {
    return text.empty() ? first : first + count_characters(prepend->text);
  }
  if (const Strip* strip = std::get_if<Strip>(&step)) {
    bool leading = strip->left;
    return first - count_removed(text, first, [&](uint32_t c) { return leading = leading && is_whitespace(c); });
  }
  if (std::holds_alternative<StripAccents>(step)) return first - count_removed(text, first, is_mark);
  if (std::holds_alternative<Nmt>(step)) return first - count_removed(text, first, is_nmt_control);
  if (const Replace* replace = std::get_if<Replace>(&step)) {
    auto matches = replace->pattern.find_all(text);
    if (matches.empty() || matches[0].begin > 0 || matches[0].end == 0) return first;
    // What replaces several characters counts as coming from the last of them.
    size_t replaced = count_characters(text.substr(0, matches[0].end));
    return replaced > first ? 0 : first - replaced + count_characters(replace->content);
  }
  return first;
}

std::string Normalizer::apply(std::string_view text, bool* at_start) const {
  std::string out(text);
  size_t first = 1;
  for (const Step& step : steps_) {
    if (at_start != nullptr && first > 0) first = follow_first(step, out, first);
    out = std::visit([&](const auto& s) { return run(s, std::move(out)); }, step);
  }
  if (first == 0) *at_start = false;
  return out;
}

Normalizer Normalizer::read(const JsonNode& node) {
  Normalizer normalizer;
  if (!node.is_null()) normalizer.add(node);
  return normalizer;
}

Normalizer Normalizer::of(SentencePieceNormalizer step) {
  Normalizer normalizer;
  normalizer.steps_.push_back(std::move(step));
  return normalizer;
}

void Normalizer::add(const JsonNode& node) {
  const std::string& type = node.at("type").string();
  if (type == "Sequence") {
    for (const JsonNode& part : node.at("normalizers").elements()) add(part);
  } else if (type == "NFC" || type == "NFKC") {
    steps_.push_back(UnicodeForm{true, type == "NFKC"});
  } else if (type == "NFD" || type == "NFKD") {
    steps_.push_back(UnicodeForm{false, type == "NFKD"});
  } else if (type == "Strip") {
    steps_.push_back(Strip{node.at("strip_left").boolean(), node.at("strip_right").boolean()});
  } else if (type == "StripAccents") {
    steps_.push_back(StripAccents{});
  } else if (type == "Lowercase") {
    steps_.push_back(Lowercase{});
  } else if (type == "Nmt") {
    steps_.push_back(Nmt{});
  } else if (type == "ByteLevel") {
    steps_.push_back(ByteCharacters{});
  } else if (type == "Prepend") {
    steps_.push_back(Prepend{node.at("prepend").string()});
  } else if (type == "Replace") {
    steps_.push_back(
        Replace{read_pattern(node.at("pattern")), node.at("content").string(), read_literal(node.at("pattern"))});
  } else if (type == "Precompiled") {
    steps_.push_back(CharacterMap::read(node.at("precompiled_charsmap")));
  } else {
    node.at("type").wrong("unknown kind of normalizer",
                          "NFC, NFD, NFKC, NFKD, Nmt, Strip, StripAccents, Lowercase, ByteLevel, Prepend, Replace, "
                          "Precompiled or Sequence");
  }
}

}  // namespace tandem
