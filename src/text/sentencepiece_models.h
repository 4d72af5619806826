// The ways in which SentencePiece models turn normalized text into pieces.
//
// Unigram and BPE models have code of their own: the library of Debian 12 (0.1.97) encodes slower and, between
// segmentations of equal score, decides otherwise than the library of today (0.2). Everything else goes through the
// library.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/double_array.h"
#include "text/sentencepiece_file.h"
#include "text/token_model.h"
#include "text/token_table.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace tandem {

// What all kinds share: ids and texts of the pieces.
class SentencePieceModel : public TokenModel {
 public:
  explicit SentencePieceModel(const SentencePieceFile& file);

  const std::vector<std::string>& tokens() const override { return tokens_; }
  int32_t token_count() const override { return static_cast<int32_t>(tokens_.size()); }
  int32_t find(std::string_view token) const override { return by_text_.find(token); }

 private:
  std::vector<std::string> tokens_;
  TokenTable by_text_;
};

// A "word" is a whole normalized text: scores are summed in float over all of it, as the library does (0.2,
// unigram_model.cc), so that near ties are decided as there.
class SentencePieceUnigram final : public SentencePieceModel {
 public:
  explicit SentencePieceUnigram(const SentencePieceFile& file);
  void encode_word(std::string_view text, std::vector<int32_t>& ids) const override;

 private:
  struct Step {
    float score = 0;
    int32_t id = -1;  // -1: not reached
    size_t begin = 0;
  };
  std::vector<Step> best_steps(std::string_view text) const;
  float score_of(int32_t id, size_t bytes) const;

  DoubleArray trie_;
  std::vector<float> scores_;
  std::vector<bool> user_defined_;
  std::vector<int32_t> byte_ids_;  // empty: no byte fallback
  int32_t unknown_;
  float unknown_score_;
};

// A "word" is a whole text as it was given: the library normalizes, too.
class SentencePieceByLibrary final : public SentencePieceModel {
 public:
  SentencePieceByLibrary(const SentencePieceFile& file,
                         std::unique_ptr<const sentencepiece::SentencePieceProcessor> library);
  ~SentencePieceByLibrary() override;
  void encode_word(std::string_view text, std::vector<int32_t>& ids) const override;

 private:
  std::unique_ptr<const sentencepiece::SentencePieceProcessor> library_;
};

// Null when only the library does what the file asks for: pieces that are not used, or with characters that are no
// pieces. User-defined pieces are not found by this model: they are cut out before.
std::unique_ptr<const TokenModel> make_sentencepiece_bpe(const SentencePieceFile& file);

}  // namespace tandem
