// The parts of a tokenizer. Only for the files that implement it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"
#include "text/word_cache.h"

namespace tandem {

struct Tokenizer::Impl {
  TokenizerFormat format = TokenizerFormat::json;
  std::string bytes;  // of the file
  std::string hash;

  std::vector<AddedToken> added;
  struct Finders {
    AddedTokenFinder in_text;        // added tokens searched for in the text as given
    AddedTokenFinder in_normalized;  // and in normalized text
  };
  Finders all_added;
  Finders plain_added;  // without the special ones
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<const TokenModel> model;
  PostProcessor post_processor;
  Decoder decoder;

  // By id. A hole has no text.
  std::vector<std::string> tokens;    // as written in the file
  std::vector<std::string> decoding;  // what the decoder gets: normalized added tokens in their normalized form
  std::vector<bool> special;          // left out by decode with skip_special

  // `cache` may be null.
  std::vector<int32_t> encode(std::string_view text, const Finders& finders, WordCache* cache) const;
  // InputError for an id without a token.
  void check_id(int32_t id) const;
};

// FNV-1a, 64 bits (Fowler, Noll, Vo), as 16 hexadecimal digits.
std::string content_hash(std::string_view bytes);

// Reads the parts from a tokenizer.json.
std::unique_ptr<Tokenizer::Impl> read_tokenizer_json(std::string_view json, const std::string& where);
// The same from a SentencePiece .model.
std::unique_ptr<Tokenizer::Impl> read_tokenizer_sentencepiece(std::string_view bytes, const std::string& where);

}  // namespace tandem
