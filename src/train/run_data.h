// The text of a run: its tokenizer, given or trained, and its token shards.
#pragma once

#include <filesystem>
#include <memory>

#include "data/token_data.h"
#include "text/batch.h"
#include "text/tokenizer.h"
#include "train/run_config.h"

namespace tandem {

// Several runs may share one: it is not changed by training.
struct RunData {
  Tokenizer tokenizer;
  TokenData tokens;
};

// config.model with the sizes and ids that it leaves open set to those of the tokenizer. InputError when the config
// asks for fewer than it needs.
ModelConfig model_config_of(const RunConfig& config, const RunData& data);

// The first `rows` rows of `length` tokens of the run's text, for what needs rows of the run's kind before its first
// step.
Batch packed_rows(const RunData& data, const RunConfig& config, int64_t rows, int64_t length);

// Special tokens that a run needs, whoever made its tokenizer.
std::vector<std::string> wanted_tokens(const DataConfig& config);

// `folder`: where a trained tokenizer is kept (tokenizer.json; one that is there is used again) and, unless data.cache
// names another place, the token shards. `disk`: what else the run will write there. InputError for text or a tokenizer
// that cannot be used and for a disk without room for the shards, which is said before the first of them is written.
RunData prepare_run_data(const DataConfig& config, ThreadPool& pool, const std::filesystem::path& folder,
                         const DiskPlan& disk = {});

}  // namespace tandem
