// Text to token ids and back. Reads Hugging Face `tokenizer.json` files and SentencePiece `.model` files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

class WordCache;

enum class TokenizerFormat {
  json,           // tokenizer.json
  sentencepiece,  // SentencePiece .model
};
// By the name: *.model is SentencePiece's, everything else a tokenizer.json.
TokenizerFormat tokenizer_format(const std::filesystem::path& path);

// Some decoders drop a space in front of a text.
enum class TokenPlace { first, inside };

class Tokenizer {
 public:
  // InputError for a file that is missing, malformed or of a kind that is not supported.
  static Tokenizer load(const std::filesystem::path& path);
  // tokenizer.json or tokenizer.model of a model folder. InputError when there is none, or both.
  static Tokenizer load_from_folder(const std::filesystem::path& folder);
  // The bytes of a file; `where` names it in errors.
  static Tokenizer parse(std::string_view bytes, const std::string& where,
                         TokenizerFormat format = TokenizerFormat::json);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // UTF-8 text to ids. Special tokens written in the text are recognised. With `add_special` the file's post-processor
  // adds its tokens (a template's BOS, for example). InputError when the text is not UTF-8 (with the byte offset).
  // Safe to call from several threads.
  std::vector<int32_t> encode(std::string_view text, bool add_special = false) const;
  // The same, faster when many texts follow each other: see text/encoder.h. One cache for one thread.
  std::vector<int32_t> encode(std::string_view text, bool add_special, WordCache& cache) const;

  // The same, but special tokens written in the text are text like any other: for what users say in a conversation,
  // which must not be able to open another role or to end it.
  std::vector<int32_t> encode_plain(std::string_view text) const;

  // Ids to text; byte sequences that are not UTF-8 become U+FFFD. InputError for an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  int32_t vocab_size() const;  // one more than the largest id, added tokens included
  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::string id_to_token(int32_t id) const;
  bool is_special(int32_t id) const;
  // The bytes that each token stands for as the first of a text or inside it, by id, also where they are only a part of
  // a character; empty for special tokens and ids without a token.
  std::vector<std::string> token_bytes(TokenPlace place) const;
  // How many they are, inside a text.
  std::vector<int32_t> text_bytes() const;

  // The file's bytes, as read or as written by the trainer, what it is called in a model folder, and the 64-bit hash of
  // the bytes as 16 hex digits (for shard headers and checkpoints).
  const std::string& file_bytes() const;
  const std::string& json() const { return file_bytes(); }  // the older name of the same
  std::string file_name() const;
  TokenizerFormat format() const;
  const std::string& hash() const;

  struct Impl;  // its parts; defined for the files of this folder only

 private:
  friend class Detokenizer;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace tandem
