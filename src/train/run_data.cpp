#include "train/run_data.h"

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "data/corpus.h"
#include "text/bpe_trainer.h"
#include "text/extend_tokenizer.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Enough text for the counts of the pairs that make it into vocabularies of the usual sizes.
constexpr int64_t kTokenizerText = int64_t{32} << 20;

Tokenizer train_tokenizer(const DataConfig& config, const Corpus& corpus) {
  Stopwatch watch;
  TrainBpeOptions options{.vocab_size = static_cast<int32_t>(config.vocab_size)};
  std::vector<std::string> wanted = config.add_tokens;
  if (config.role_tokens || config.records == Records::conversations) {
    for (const std::string& token : config.chat.all()) wanted.push_back(token);
  }
  for (const std::string& token : wanted) {
    bool known = std::count(options.special_tokens.begin(), options.special_tokens.end(), token) > 0;
    if (!known) options.special_tokens.push_back(token);
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

void store(const Tokenizer& tokenizer, const fs::path& folder) {
  create_folder(folder);
  write_file_atomically(folder / tokenizer.file_name(), tokenizer.file_bytes());
}

bool has_tokenizer(const fs::path& folder) {
  return fs::exists(folder / "tokenizer.json") || fs::exists(folder / "tokenizer.model");
}

// The folder keeps what it was given, with the tokens that it lacked: the file may be gone when the run goes on.
Tokenizer take_tokenizer(const DataConfig& config, const fs::path& folder) {
  if (!fs::exists(config.tokenizer) && has_tokenizer(folder)) return Tokenizer::load_from_folder(folder);
  Tokenizer tokenizer = Tokenizer::load(config.tokenizer);
  std::vector<std::string> wanted = wanted_tokens(config);
  if (!missing_tokens(tokenizer, wanted).empty()) tokenizer = with_special_tokens(tokenizer, wanted);
  store(tokenizer, folder);
  return tokenizer;
}

Tokenizer obtain_tokenizer(const DataConfig& config, const Corpus& corpus, const fs::path& folder,
                           const DiskPlan& disk) {
  if (!config.tokenizer.empty()) return take_tokenizer(config, folder);
  if (has_tokenizer(folder)) return Tokenizer::load_from_folder(folder);
  // Elsewhere the tokens may be there already.
  if (config.cache.empty()) refuse_hopeless(corpus, folder, disk);
  Tokenizer tokenizer = train_tokenizer(config, corpus);
  store(tokenizer, folder);
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

// Conversations need their roles. A system message is rare, and its token widens the vocabulary: who wants it says so
// with role_tokens.
std::vector<std::string> wanted_tokens(const DataConfig& config) {
  std::vector<std::string> wanted = config.add_tokens;
  if (config.role_tokens) wanted.push_back(config.chat.system);
  if (config.role_tokens || config.records == Records::conversations) {
    wanted.insert(wanted.end(), {config.chat.user, config.chat.assistant});
  }
  return wanted;
}

Batch packed_rows(const RunData& data, const RunConfig& config, int64_t rows, int64_t length) {
  Batch batch = data.tokens.rows(length, config.data.seed).next_batch(rows);
  batch.objective = objective_of(config);
  return batch;
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
