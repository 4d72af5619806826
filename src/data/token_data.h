// The documents of a run as token shards: made once, kept in a cache folder, mapped by every later run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/threads.h"
#include "data/config.h"
#include "data/corpus.h"
#include "data/disk_space.h"
#include "data/heldout.h"
#include "data/loader.h"
#include "data/packer.h"
#include "data/shard.h"
#include "text/tokenizer.h"

namespace tandem {

struct DocumentTokens {
  int32_t bos = -1;
  int32_t eos = -1;  // equal to bos when the tokenizer has one mark for both
  int32_t pad = -1;  // equal to eos when the tokenizer has none
};

// The tokens named in the config, else the first of the usual names that the tokenizer has. InputError when a named one
// is unknown or no token opens or ends a document.
DocumentTokens find_document_tokens(const Tokenizer& tokenizer, const DataConfig& config);

// The training documents of one entry of DataConfig::sources.
struct SourceTokens {
  std::string name;
  double share = 0;   // of the tokens that are read: by weight, or by size
  int64_t first = 0;  // its documents are [first, first + documents) of the training shards
  int64_t documents = 0;
  int64_t tokens = 0;
};

// Conversations that do not fit into a row.
struct LongCounts {
  int64_t dropped = 0;
  int64_t truncated = 0;
};
LongCounts count_long(const ShardSet& shards, const PackRule& rule);

class TokenData {
 public:
  // Reads shards from `cache` / (a name made of corpus and tokenizer) or, when they are not there or damaged, tokenises
  // the corpus on the pool and writes them there, unless the disk has no room for them. InputError for bad text, for a
  // disk that is too full, and for text that leaves nothing to train on, of any weighted source, or to hold out.
  static TokenData prepare(const Tokenizer& tokenizer, const DataConfig& config, const Corpus& corpus, ThreadPool& pool,
                           const std::filesystem::path& cache, const DiskPlan& disk = {});

  const ShardSet& training() const { return training_; }
  const ShardSet& heldout() const { return heldout_; }
  const std::vector<SourceTokens>& sources() const { return sources_; }
  const DocumentTokens& document_tokens() const { return document_tokens_; }
  const std::vector<int32_t>& token_bytes() const { return token_bytes_; }  // see token_byte_lengths
  int64_t left_out() const { return left_out_; }                            // see Corpus::for_each
  bool from_cache() const { return from_cache_; }

  PackRule pack_rule(int64_t row_length) const;
  // The data must outlive the stream.
  RowStream rows(int64_t row_length, int64_t seed) const { return {training_, pack_rule(row_length), seed, mix_}; }
  HeldOut heldout_rows(int64_t row_length, int64_t max_rows) const {
    return {heldout_, pack_rule(row_length), token_bytes_, max_rows};
  }
  // Says in the log how many conversations are dropped or cut.
  void warn_of_long(int64_t row_length) const;

 private:
  TokenData() = default;
  void set_sources(const DataConfig& config, const std::vector<int64_t>& documents);

  ShardSet training_;
  ShardSet heldout_;
  std::vector<SourceTokens> sources_;
  std::vector<MixPart> mix_;  // empty without weights
  DocumentTokens document_tokens_;
  std::vector<int32_t> token_bytes_;
  PackRule rule_;  // without its length
  int64_t left_out_ = 0;
  bool from_cache_ = false;
};

}  // namespace tandem
