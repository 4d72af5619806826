#include "data/token_data.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "data/hash.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

// Text that is encoded in one go; bounds the memory that tokenising takes beside the longest document.
constexpr size_t kBytesPerRound = size_t{8} << 20;
constexpr const char* kDoneFile = "done.json";
constexpr const char* kTrainingName = "training";
constexpr const char* kHeldOutName = "heldout";

constexpr std::array<const char*, 7> kBosNames{"<s>",   "<bos>", "<|bos|>", "<|begin_of_text|>", "<|startoftext|>",
                                               "[BOS]", "<BOS>"};
constexpr std::array<const char*, 8> kEosNames{"</s>",          "<eos>",      "<|eos|>", "<|end_of_text|>",
                                               "<|endoftext|>", "<|im_end|>", "[EOS]",   "<EOS>"};

template <class Names>
std::optional<int32_t> find_token(const Tokenizer& tokenizer, const std::string& named, const char* key,
                                  const Names& usual) {
  if (!named.empty()) {
    if (auto id = tokenizer.token_to_id(named)) return id;
    throw InputError({.what = fmt::format("unknown token in 'data.{}'", key),
                      .got = "'" + named + "'",
                      .expected = "a token of the tokenizer"});
  }
  for (const char* name : usual) {
    if (auto id = tokenizer.token_to_id(name)) return id;
  }
  return std::nullopt;
}

struct ShardCounts {
  int64_t training = 0;
  int64_t heldout = 0;
};

// Encodes documents in rounds on the pool and writes them in their order.
class Tokenising {
 public:
  Tokenising(const Tokenizer& tokenizer, const TokenSpace& space, const fs::path& folder, ThreadPool& pool)
      : tokenizer_(tokenizer),
        pool_(pool),
        training_(folder, kTrainingName, space),
        heldout_(folder, kHeldOutName, space) {}

  void add(CorpusPart part, std::string_view text) {
    waiting_.emplace_back(part, text);
    bytes_ += text.size();
    if (bytes_ >= kBytesPerRound) encode();
  }

  ShardCounts finish() {
    encode();
    return {.training = training_.finish(), .heldout = heldout_.finish()};
  }

 private:
  void encode() {
    std::vector<std::vector<int32_t>> ids(waiting_.size());
    pool_.run(static_cast<int64_t>(waiting_.size()), [&](int64_t i, int) {
      auto at = static_cast<size_t>(i);
      ids[at] = tokenizer_.encode(waiting_[at].second);
    });
    for (size_t i = 0; i < ids.size(); ++i) {
      ShardSetWriter& writer = waiting_[i].first == CorpusPart::kTraining ? training_ : heldout_;
      writer.add_document(ids[i], waiting_[i].second.size());
    }
    waiting_.clear();
    bytes_ = 0;
  }

  const Tokenizer& tokenizer_;
  ThreadPool& pool_;
  ShardSetWriter training_;
  ShardSetWriter heldout_;
  std::vector<std::pair<CorpusPart, std::string>> waiting_;
  size_t bytes_ = 0;
};

ShardCounts tokenise(const Tokenizer& tokenizer, const TokenSpace& space, const Corpus& corpus, ThreadPool& pool,
                     const fs::path& folder) {
  create_folder(folder);
  Stopwatch watch;
  Tokenising tokenising(tokenizer, space, folder, pool);
  corpus.for_each([&](CorpusPart part, std::string_view text) { tokenising.add(part, text); });
  ShardCounts counts = tokenising.finish();
  // Written last: shards without it are not used.
  OrderedJson done = {{"training_shards", counts.training}, {"heldout_shards", counts.heldout}};
  write_file_atomically(folder / kDoneFile, done.dump(2) + "\n");
  log::info("text tokenised in {:.1f} s into {}", watch.seconds(), folder.string());
  return counts;
}

}  // namespace

DocumentTokens find_document_tokens(const Tokenizer& tokenizer, const DataConfig& config) {
  std::optional<int32_t> bos = find_token(tokenizer, config.bos_token, "bos_token", kBosNames);
  std::optional<int32_t> eos = find_token(tokenizer, config.eos_token, "eos_token", kEosNames);
  if (!bos && !eos) {
    throw InputError({.what = "tokenizer without a token that opens or ends a document",
                      .expected = "one such as <s> or <|endoftext|>",
                      .hint = "name it with data.bos_token and data.eos_token"});
  }
  return {.bos = bos ? *bos : *eos, .eos = eos ? *eos : *bos};
}

TokenData TokenData::prepare(const Tokenizer& tokenizer, const DataConfig& config, const Corpus& corpus,
                             ThreadPool& pool, const fs::path& cache) {
  TokenData data;
  data.document_tokens_ = find_document_tokens(tokenizer, config);
  data.token_bytes_ = token_byte_lengths(tokenizer);
  TokenSpace space{.tokenizer_hash = tokenizer.hash(), .vocab_size = tokenizer.vocab_size()};
  Hash64 name;
  name.add_sized(space.tokenizer_hash);
  name.add_number(corpus.fingerprint());
  fs::path folder = cache / hex64(name.value());

  auto open = [&](const ShardCounts& counts) {
    data.training_ = open_shards(folder, kTrainingName, counts.training, space);
    data.heldout_ = open_shards(folder, kHeldOutName, counts.heldout, space);
  };
  if (fs::exists(folder / kDoneFile)) {
    try {
      std::string where = (folder / kDoneFile).string();
      Json done = read_json(folder / kDoneFile);
      open({.training = json_int(done, "training_shards", where), .heldout = json_int(done, "heldout_shards", where)});
      data.from_cache_ = true;
    } catch (const InputError& error) {
      log::warn("stored tokens are not usable and are made again: {}", error.what());
    }
  }
  if (!data.from_cache_) open(tokenise(tokenizer, space, corpus, pool, folder));

  auto check_part = [&](const ShardSet& part, const char* what) {
    if (part.tokens() > 1) return;
    throw InputError({.what = what,
                      .got = fmt::format("{} tokens", part.tokens()),
                      .expected = "at least 2",
                      .hint = "give more text, or a held-out file (data.heldout)"});
  };
  check_part(data.training_, "no training text");
  check_part(data.heldout_, "no held-out text");
  return data;
}

}  // namespace tandem
