// The parts of a tokenizer. Only for the files that implement it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace tandem {

struct Tokenizer::Impl {
  std::string json;
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
  std::unique_ptr<const Model> model;
  PostProcessor post_processor;
  Decoder decoder;

  // By id. A hole has no text.
  std::vector<std::string> tokens;    // as written in the file
  std::vector<std::string> decoding;  // what the decoder gets: normalized added tokens in their normalized form
  std::vector<bool> special;          // left out by decode with skip_special

  std::vector<int32_t> encode(std::string_view text, const Finders& finders) const;
  void encode_part(std::string_view text, bool at_start, const Finders& finders, std::vector<int32_t>& ids) const;
  void encode_words(std::string_view text, bool at_start, std::vector<int32_t>& ids) const;
  // InputError for an id without a token.
  void check_id(int32_t id) const;
};

// Reads the parts from a tokenizer.json.
std::unique_ptr<Tokenizer::Impl> read_tokenizer_json(std::string_view json, const std::string& where);

}  // namespace tandem
