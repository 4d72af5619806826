// Unigram language model (Kudo 2018): a word becomes the tokens whose scores have the highest sum.
#pragma once

#include <optional>

#include "text/double_array.h"
#include "text/token_model.h"
#include "text/token_table.h"

namespace tandem {

class UnigramModel final : public TokenModel {
 public:
  // `scores` are log-probabilities by id. `unknown`: id for characters that no token covers.
  UnigramModel(std::vector<std::string> tokens, std::vector<double> scores, std::optional<int32_t> unknown,
               bool byte_fallback);
  UnigramModel(const UnigramModel&) = delete;
  UnigramModel& operator=(const UnigramModel&) = delete;

  // InputError when a character is in no token and the file has no unknown token.
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const override;
  const std::vector<std::string>& tokens() const override { return tokens_; }
  int32_t token_count() const override { return static_cast<int32_t>(tokens_.size()); }
  int32_t find(std::string_view token) const override { return by_text_.find(token); }

 private:
  // Best way to reach a position: the last token and where it begins.
  struct Step {
    double score = 0;
    size_t begin = 0;
    int32_t id = -1;  // -1: not reached
  };
  void append_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  std::vector<std::string> tokens_;
  std::vector<double> scores_;
  std::optional<int32_t> unknown_;
  double unknown_score_ = 0;
  bool byte_fallback_;
  DoubleArray trie_;
  TokenTable by_text_;
};

// Reads the object of type Unigram.
std::unique_ptr<const TokenModel> read_unigram(const JsonNode& node);

}  // namespace tandem
