// Byte-pair encoding (Sennrich et al. 2016): a word begins as its characters, and the neighbours with the merge of the
// lowest rank are joined, the leftmost first, until none is left.
#pragma once

#include <array>
#include <optional>
#include <unordered_map>
#include <utility>

#include "text/token_model.h"
#include "text/token_table.h"

namespace tandem {

struct BpeOptions {
  std::optional<int32_t> unknown;  // id for characters outside the vocabulary; without it they are dropped
  bool fuse_unknown = false;       // a run of unknown characters gives one id
  bool byte_fallback = false;      // an unknown character is written as tokens <0x00> to <0xFF> if all its bytes exist
  bool ignore_merges = false;      // a word that is a token is that token, whatever its merges give
  std::vector<bool> reserved;      // by id: tokens that no character of a text becomes; empty: none
};

class BpeModel final : public TokenModel {
 public:
  struct MergeRule {
    int32_t left, right, result;  // ids
    uint32_t rank;
  };
  // `tokens` may have empty texts as holes. `bytes` as in read_model.
  BpeModel(std::vector<std::string> tokens, const std::vector<MergeRule>& merges, const BpeOptions& options,
           bool bytes);
  BpeModel(const BpeModel&) = delete;
  BpeModel& operator=(const BpeModel&) = delete;

  void encode_word(std::string_view word, std::vector<int32_t>& ids) const override;
  const std::vector<std::string>& tokens() const override { return tokens_; }
  int32_t token_count() const override { return token_count_; }
  int32_t find(std::string_view token) const override { return by_text_.find(token); }
  std::string_view boundary() const override { return boundary_; }

 private:
  bool may_cut_at(std::string_view character, const std::vector<MergeRule>& merges) const;
  void fill_tables(const std::vector<MergeRule>& merges);
  void append_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  bool append_bytes_of(std::string_view character, std::vector<int32_t>& symbols) const;
  void merge_word(std::string_view word, std::vector<int32_t>& ids) const;

  std::vector<std::string> tokens_;
  std::vector<std::string> raw_tokens_;  // bytes only: what each token stands for, empty when it is no byte string
  int32_t token_count_ = 0;
  BpeOptions options_;
  bool bytes_;
  std::string_view boundary_;
  TokenTable by_text_;
  TokenTable characters_;                    // tokens of one character
  TokenTable whole_words_;                   // words that end as one token: found without merging
  std::array<int32_t, 256> byte_symbols_{};  // bytes only; -1: unknown
  std::array<int32_t, 256> fallback_{};      // <0x00> to <0xFF>; -1: not in the vocabulary
  MergeTable merges_;
};

// Joins neighbours of `symbols` from position `begin` on until no merge is left. Two ways to the same result: the
// first looks through all pairs at each step, the second keeps them in a heap; merge_symbols chooses by length.
void merge_symbols(std::vector<int32_t>& symbols, size_t begin, const MergeTable& merges);
void merge_by_scanning(std::vector<int32_t>& symbols, size_t begin, const MergeTable& merges);
void merge_by_heap(std::vector<int32_t>& symbols, size_t begin, const MergeTable& merges);

// Reads the object of type BPE.
std::unique_ptr<const TokenModel> read_bpe(const JsonNode& node, bool bytes);

}  // namespace tandem
