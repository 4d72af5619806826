// The text of a run as token shards: made once, kept in a cache folder, mapped by every later run.
#pragma once

#include <filesystem>
#include <vector>

#include "base/threads.h"
#include "data/config.h"
#include "data/corpus.h"
#include "data/heldout.h"
#include "data/loader.h"
#include "data/packer.h"
#include "data/shard.h"
#include "text/tokenizer.h"

namespace tandem {

struct DocumentTokens {
  int32_t bos = -1;
  int32_t eos = -1;  // equal to bos when the tokenizer has one mark for both
};

// The tokens named in the config, else the first of the usual names that the tokenizer has. InputError when a named one
// is unknown or none is found.
DocumentTokens find_document_tokens(const Tokenizer& tokenizer, const DataConfig& config);

class TokenData {
 public:
  // Reads shards from `cache` / (a name made of corpus and tokenizer) or, when they are not there or damaged, tokenises
  // the corpus on the pool and writes them there. InputError for bad text and for text that leaves nothing to train on
  // or to hold out.
  static TokenData prepare(const Tokenizer& tokenizer, const DataConfig& config, const Corpus& corpus, ThreadPool& pool,
                           const std::filesystem::path& cache);

  const ShardSet& training() const { return training_; }
  const ShardSet& heldout() const { return heldout_; }
  const DocumentTokens& document_tokens() const { return document_tokens_; }
  const std::vector<int32_t>& token_bytes() const { return token_bytes_; }  // see token_byte_lengths
  bool from_cache() const { return from_cache_; }

  PackRule pack_rule(int64_t row_length) const {
    return {.length = row_length, .bos = document_tokens_.bos, .eos = document_tokens_.eos};
  }
  // The data must outlive the stream.
  RowStream rows(int64_t row_length, int64_t seed) const { return {training_, pack_rule(row_length), seed}; }
  HeldOut heldout_rows(int64_t row_length, int64_t max_rows) const {
    return {heldout_, pack_rule(row_length), token_bytes_, max_rows};
  }

 private:
  TokenData() = default;

  ShardSet training_;
  ShardSet heldout_;
  DocumentTokens document_tokens_;
  std::vector<int32_t> token_bytes_;
  bool from_cache_ = false;
};

}  // namespace tandem
