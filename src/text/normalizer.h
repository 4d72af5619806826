// What happens to text before it is cut into words: Unicode normal forms, stripping, replacing.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/character_map.h"
#include "text/json_node.h"
#include "text/regex.h"
#include "text/sentencepiece_normalizer.h"

namespace tandem {

// A list of steps, read from the "normalizer" of a tokenizer.json. No steps: text stays as it is.
class Normalizer {
 public:
  Normalizer() = default;
  // Null, or an object with a type. InputError for an unknown type.
  static Normalizer read(const JsonNode& node);
  static Normalizer of(SentencePieceNormalizer step);

  bool empty() const { return steps_.empty(); }
  // `text` is valid UTF-8, and so is the result. When `at_start` is given, it becomes false if the first character of
  // the result does not come from the first character of the text (some pre-tokenizers ask).
  std::string apply(std::string_view text, bool* at_start = nullptr) const;

 private:
  struct UnicodeForm {
    bool compose, compatibility;
  };
  struct Strip {
    bool left, right;
  };
  struct StripAccents {};
  struct Lowercase {};
  struct Nmt {};  // control characters removed, odd spaces made plain
  struct ByteCharacters {};
  struct Prepend {
    std::string text;
  };
  struct Replace {
    Regex pattern;
    std::string content;
    std::string literal;  // when the pattern is a text: found without the regular expression
  };
  using Step = std::variant<UnicodeForm, Strip, StripAccents, Lowercase, Nmt, ByteCharacters, Prepend, Replace,
                            CharacterMap, SentencePieceNormalizer>;

  void add(const JsonNode& node);
  static std::string run(const UnicodeForm& step, std::string text);
  static std::string run(const Strip& step, std::string text);
  static std::string run(const StripAccents& step, std::string text);
  static std::string run(const Lowercase& step, std::string text);
  static std::string run(const Nmt& step, std::string text);
  static std::string run(const ByteCharacters& step, std::string text);
  static std::string run(const Prepend& step, std::string text);
  static std::string run(const Replace& step, std::string text);
  static std::string run(const CharacterMap& step, std::string text);
  static std::string run(const SentencePieceNormalizer& step, std::string text);

  // How many characters at the beginning come from the first character of what the user gave, behind a step that finds
  // `first` of them.
  static size_t follow_first(const Step& step, std::string_view text, size_t first);

  std::vector<Step> steps_;
};

// Normal forms NFC, NFD, NFKC, NFKD of valid UTF-8 text.
std::string unicode_normal_form(std::string_view text, bool compose, bool compatibility);

// "pattern" of a Replace or Split: {"String": s} or {"Regex": r}; a string becomes a regular expression.
Regex read_pattern(const JsonNode& node);

// The text of a pattern {"String": s}; empty for a regular expression.
std::string read_literal(const JsonNode& node);

// Every match of the pattern replaced.
std::string replace_all(std::string_view text, const Regex& pattern, std::string_view content);

// Every occurrence of `literal` (not empty) replaced, from left to right.
std::string replace_literal(std::string_view text, std::string_view literal, std::string_view content);

}  // namespace tandem
