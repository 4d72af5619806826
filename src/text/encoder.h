// Many texts to ids: with a memory of the words that were met, and on several threads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "text/tokenizer.h"
#include "text/word_cache.h"

namespace tandem {

// Encodes one text after another, to the same ids as Tokenizer::encode. For one thread.
class Encoder {
 public:
  // The tokenizer must outlive the encoder.
  explicit Encoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // Errors as Tokenizer::encode.
  std::vector<int32_t> encode(std::string_view text, bool add_special = false) {
    return tokenizer_->encode(text, add_special, cache_);
  }

 private:
  const Tokenizer* tokenizer_;
  WordCache cache_;
};

// Encodes batches of texts on a pool; each of its threads has an Encoder, which lasts from batch to batch.
class BatchEncoder {
 public:
  // Both must outlive it.
  BatchEncoder(const Tokenizer& tokenizer, ThreadPool& pool)
      : pool_(&pool), encoders_(static_cast<size_t>(pool.threads()), Encoder(tokenizer)) {}

  // The ids of each text. Errors as Tokenizer::encode.
  std::vector<std::vector<int32_t>> encode(std::span<const std::string_view> texts, bool add_special = false) {
    std::vector<std::vector<int32_t>> ids(texts.size());
    pool_->run(static_cast<int64_t>(texts.size()), [&](int64_t text, int worker) {
      size_t i = static_cast<size_t>(text);
      ids[i] = encoders_[static_cast<size_t>(worker)].encode(texts[i], add_special);
    });
    return ids;
  }

 private:
  ThreadPool* pool_;
  std::vector<Encoder> encoders_;
};

}  // namespace tandem
