#include "train/run_data.h"

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "data/corpus.h"
#include "text/bpe_trainer.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Enough text for the counts of the pairs that make it into vocabularies of the usual sizes.
constexpr int64_t kTokenizerText = int64_t{32} << 20;

Tokenizer train_tokenizer(const DataConfig& config, const Corpus& corpus) {
  Stopwatch watch;
  TrainBpeOptions options{.vocab_size = static_cast<int32_t>(config.vocab_size)};
  if (config.role_tokens || config.records == Records::conversations) {
    for (const std::string& token : config.chat.all()) {
      bool known = std::count(options.special_tokens.begin(), options.special_tokens.end(), token) > 0;
      if (!known) options.special_tokens.push_back(token);
    }
  }
  BpeTrainer trainer(options);
  for (const std::string& document : corpus.training_sample(kTokenizerText)) trainer.add(document);
  Tokenizer tokenizer = Tokenizer::parse(trainer.train(), "trained tokenizer");
  log::info("tokenizer of {} tokens trained in {:.1f} s", tokenizer.vocab_size(), watch.seconds());
  return tokenizer;
}

// A corpus that is far too large is refused before it is read for a tokenizer; whether it fits exactly is known when
// its first part is tokenised.
void refuse_hopeless(const Corpus& corpus, const fs::path& folder, const DiskPlan& disk) {
  constexpr uint64_t kMostBytesPerToken = 8;
  uint64_t least = corpus.estimated_text_bytes() / kMostBytesPerToken * sizeof(uint32_t);
  require_disk_space(folder, least, "tokenised text", disk);
}

Tokenizer obtain_tokenizer(const DataConfig& config, const Corpus& corpus, const fs::path& folder,
                           const DiskPlan& disk) {
  if (!config.tokenizer.empty()) return Tokenizer::load(config.tokenizer);
  fs::path stored = folder / "tokenizer.json";
  if (fs::exists(stored)) return Tokenizer::load(stored);
  // Elsewhere the tokens may be there already.
  if (config.cache.empty()) refuse_hopeless(corpus, folder, disk);
  Tokenizer tokenizer = train_tokenizer(config, corpus);
  create_folder(folder);
  write_file_atomically(stored, tokenizer.json());
  return tokenizer;
}

}  // namespace

ModelConfig model_config_of(const RunConfig& config, const RunData& data) {
  ModelConfig model = config.model;
  model.fit_tokenizer(data.tokenizer.vocab_size());
  const DocumentTokens& tokens = data.tokens.document_tokens();
  if (model.bos_id < 0) model.bos_id = tokens.bos;
  if (model.eos_id < 0) model.eos_id = tokens.eos;
  return model;
}

RunData prepare_run_data(const DataConfig& config, ThreadPool& pool, const fs::path& folder, const DiskPlan& disk) {
  check(config, "");
  Corpus corpus(config);
  Tokenizer tokenizer = obtain_tokenizer(config, corpus, folder, disk);
  fs::path cache = config.cache.empty() ? folder / "data" : fs::path(config.cache);
  TokenData tokens = TokenData::prepare(tokenizer, config, corpus, pool, cache, disk);
  return {std::move(tokenizer), std::move(tokens)};
}

}  // namespace tandem
