// Token texts back to text, as a chain of steps that work on a stream: decoding at once and decoding while tokens are
// still being generated run the same code.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/json_node.h"
#include "text/regex.h"

namespace tandem {

enum class SentencePieceTag : char { text = 't', byte = 'b', unknown = 'u', control = 'c' };

// The "decoder" of a tokenizer.json. Null: tokens with single spaces between them.
class Decoder {
 public:
  struct JoinBySpaces {};
  struct ByteLevel {};
  struct ByteFallback {};
  struct Fuse {};
  struct Replace {
    Regex pattern;
    std::string content;
    std::string literal;  // as in a normalizer
  };
  struct Strip {
    std::string content;  // one character
    int64_t start, stop;  // how many of them go, at most, at the beginning and at the end of a token
  };
  struct Metaspace {
    std::string replacement;
    bool drop_in_first;  // the first token loses its replacement characters instead of showing spaces
  };
  // Tokens are a letter for the type of the piece (SentencePieceTag), then its text.
  struct SentencePiece {
    bool drop_first_space;  // one U+2581 at the beginning goes
    bool drop_all_spaces;   // all of them
    std::string unknown;    // how the unknown piece is written
  };
  using Step = std::variant<JoinBySpaces, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, SentencePiece>;

  // InputError for an unknown type.
  static Decoder read(const JsonNode& node);
  static Decoder of(SentencePiece step);

  const std::vector<Step>& steps() const { return steps_; }
  // The whole decoder is one ByteLevel: text is the bytes of the tokens, in order.
  bool is_byte_level() const { return steps_.size() == 1 && std::holds_alternative<ByteLevel>(steps_[0]); }

  // Tokens <0x00> to <0xFF> are bytes.
  bool has_byte_tokens() const;

 private:
  void add(const JsonNode& node);
  std::vector<Step> steps_;
};

// One text being decoded. The decoder must outlive it.
class DecodeStream {
 public:
  explicit DecodeStream(const Decoder& decoder);
  ~DecodeStream();
  DecodeStream(DecodeStream&&) noexcept;
  DecodeStream& operator=(DecodeStream&&) noexcept;

  // Appends to `out` what is certain once this token is known. `out` receives valid UTF-8.
  void push(std::string_view token, std::string& out);
  // Appends the rest. Nothing may be pushed afterwards.
  void finish(std::string& out);

  class Stage;  // implementation of a step

 private:
  std::vector<std::unique_ptr<Stage>> stages_;
};

}  // namespace tandem
