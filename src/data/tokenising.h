// A corpus into token shards, on all threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/threads.h"
#include "data/corpus.h"
#include "data/disk_space.h"
#include "data/shard.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace tandem {

inline constexpr const char* kTrainingShards = "training";
inline constexpr const char* kHeldOutShards = "heldout";

struct ShardCounts {
  int64_t training = 0;  // files
  int64_t heldout = 0;
  std::vector<int64_t> documents;  // training documents of each source
  int64_t left_out = 0;            // see Corpus::for_each
};

// Encodes the corpus and writes shards into `folder`, which is created when it is known that they fit on the disk: the
// size is estimated from the first few megabytes. `chat` is needed for conversations. InputError, naming file and line,
// for text that the tokenizer or the template refuses; errors of the disk as in require_disk_space and FileWriter.
ShardCounts tokenise(const Tokenizer& tokenizer, const TokenSpace& space, const std::optional<ChatTemplate>& chat,
                     const Corpus& corpus, ThreadPool& pool, const std::filesystem::path& folder, const DiskPlan& disk);

}  // namespace tandem
