#include "text/extend_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"

namespace tandem {

std::vector<std::string> missing_tokens(const Tokenizer& tokenizer, std::span<const std::string> tokens) {
  std::vector<std::string> missing;
  for (const std::string& token : tokens) {
    if (token.empty()) throw InputError({.what = "empty special token", .where = "data.add_tokens"});
    bool listed = std::find(missing.begin(), missing.end(), token) != missing.end();
    if (!listed && !tokenizer.token_to_id(token)) missing.push_back(token);
  }
  return missing;
}

Tokenizer with_special_tokens(const Tokenizer& tokenizer, std::span<const std::string> tokens) {
  std::vector<std::string> missing = missing_tokens(tokenizer, tokens);
  if (tokenizer.format() != TokenizerFormat::json) {
    throw InputError({.what = "tokens cannot be added to this tokenizer",
                      .got = "a SentencePiece model",
                      .expected = "a tokenizer.json",
                      .hint = "convert it with the transformers package first"});
  }
  OrderedJson file = OrderedJson::parse(tokenizer.file_bytes());
  int32_t id = tokenizer.vocab_size();
  OrderedJson& added = file["added_tokens"];
  if (!added.is_array()) added = OrderedJson::array();
  for (const std::string& token : missing) {
    added.push_back({{"id", id++},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return Tokenizer::parse(file.dump(2) + "\n", "tokenizer with added tokens");
}

}  // namespace tandem
