#include "data/token_data.h"

#include <fmt/format.h>

#include <array>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "data/tokenising.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

constexpr const char* kDoneFile = "done.json";

constexpr std::array<const char*, 7> kBosNames{"<s>",   "<bos>", "<|bos|>", "<|begin_of_text|>", "<|startoftext|>",
                                               "[BOS]", "<BOS>"};
constexpr std::array<const char*, 8> kEosNames{"</s>",          "<eos>",      "<|eos|>", "<|end_of_text|>",
                                               "<|endoftext|>", "<|im_end|>", "[EOS]",   "<EOS>"};
constexpr std::array<const char*, 4> kPadNames{"<pad>", "<|pad|>", "[PAD]", "<PAD>"};

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

// Equal names, equal shards.
std::string cache_name(const TokenSpace& space, const Corpus& corpus, const DataConfig& config,
                       const DocumentTokens& tokens) {
  Hash64 name;
  name.add_sized(space.tokenizer_hash);
  name.add_number(corpus.fingerprint());
  if (space.records == Records::conversations) {
    for (const std::string& token : config.chat.all()) name.add_sized(token);
    for (int32_t id : {tokens.bos, tokens.eos}) name.add_number(static_cast<uint64_t>(id));
  }
  return hex64(name.value());
}

// Written last: shards without it are not used.
void write_done(const fs::path& folder, const ShardCounts& counts) {
  OrderedJson done = {{"training_shards", counts.training},
                      {"heldout_shards", counts.heldout},
                      {"documents", counts.documents},
                      {"left_out", counts.left_out}};
  write_file_atomically(folder / kDoneFile, done.dump(2) + "\n");
}

ShardCounts read_done(const fs::path& folder) {
  std::string where = (folder / kDoneFile).string();
  Json done = read_json(folder / kDoneFile);
  ShardCounts counts{.training = json_int(done, "training_shards", where),
                     .heldout = json_int(done, "heldout_shards", where),
                     .documents = {},
                     .left_out = json_int(done, "left_out", where)};
  const Json& documents = json_at(done, "documents", where);
  for (const Json& count : documents) {
    if (!documents.is_array() || !count.is_number_integer()) {
      throw InputError({.what = "bad list of documents", .where = where, .expected = "numbers"});
    }
    counts.documents.push_back(count.get<int64_t>());
  }
  return counts;
}

void check_documents(const ShardCounts& counts, const ShardSet& training, size_t sources, const fs::path& folder) {
  int64_t sum = std::accumulate(counts.documents.begin(), counts.documents.end(), int64_t{0});
  if (counts.documents.size() == sources && sum == training.documents()) return;
  throw InputError({.what = "documents of the sources do not add up",
                    .where = (folder / kDoneFile).string(),
                    .got = std::to_string(sum),
                    .expected = std::to_string(training.documents())});
}

void check_part(const ShardSet& part, const char* what) {
  if (part.tokens() > 1) return;
  throw InputError({.what = what,
                    .got = fmt::format("{} tokens", part.tokens()),
                    .expected = "at least 2",
                    .hint = "give more text, or a held-out file (data.heldout)"});
}

void say_long(const ShardSet& shards, const PackRule& rule, const char* which) {
  LongCounts counts = count_long(shards, rule);
  auto say = [&](int64_t count, const char* fate) {
    if (count == 0) return;
    log::warn("{} of {} {}conversations are longer than a row of {} tokens and {}", count, shards.documents(), which,
              rule.length, fate);
  };
  say(counts.dropped, "are left out");
  say(counts.truncated, "lose their beginning");
}

}  // namespace

DocumentTokens find_document_tokens(const Tokenizer& tokenizer, const DataConfig& config) {
  std::optional<int32_t> bos = find_token(tokenizer, config.bos_token, "bos_token", kBosNames);
  std::optional<int32_t> eos = find_token(tokenizer, config.eos_token, "eos_token", kEosNames);
  std::optional<int32_t> pad = find_token(tokenizer, config.pad_token, "pad_token", kPadNames);
  if (!bos && !eos) {
    throw InputError({.what = "tokenizer without a token that opens or ends a document",
                      .expected = "one such as <s> or <|endoftext|>",
                      .hint = "name it with data.bos_token and data.eos_token"});
  }
  DocumentTokens tokens{.bos = bos ? *bos : *eos, .eos = eos ? *eos : *bos};
  tokens.pad = pad.value_or(tokens.eos);
  return tokens;
}

LongCounts count_long(const ShardSet& shards, const PackRule& rule) {
  LongCounts counts;
  if (rule.records != Records::conversations) return counts;
  ConversationPacker packer(rule);
  for (int64_t i = 0; i < shards.documents(); ++i) {
    std::span<const uint32_t> conversation = shards.document(i);
    if (static_cast<int64_t>(conversation.size()) <= rule.length) continue;
    packer.clear();
    bool taken = packer.add(conversation) == ConversationPacker::Outcome::taken;
    ++(taken ? counts.truncated : counts.dropped);
  }
  return counts;
}

void TokenData::set_sources(const DataConfig& config, const std::vector<int64_t>& documents) {
  int64_t first = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    SourceTokens source{.name = config.sources[i], .first = first, .documents = documents[i]};
    for (int64_t d = first; d < first + documents[i]; ++d) {
      source.tokens += static_cast<int64_t>(training_.document(d).size());
    }
    first += documents[i];
    sources_.push_back(std::move(source));
  }
  double weights = std::accumulate(config.weights.begin(), config.weights.end(), 0.0);
  for (size_t i = 0; i < sources_.size(); ++i) {
    SourceTokens& source = sources_[i];
    if (config.weights.empty()) {
      source.share = static_cast<double>(source.tokens) / static_cast<double>(training_.tokens());
      continue;
    }
    if (source.tokens == 0) {
      throw InputError({.what = "weighted source without training text",
                        .where = source.name,
                        .got = fmt::format("{} documents, 0 tokens", source.documents),
                        .hint = "take it out of data.sources and data.weights"});
    }
    source.share = config.weights[i] / weights;
    mix_.push_back({.first = source.first, .count = source.documents, .weight = config.weights[i]});
  }
}

TokenData TokenData::prepare(const Tokenizer& tokenizer, const DataConfig& config, const Corpus& corpus,
                             ThreadPool& pool, const fs::path& cache, const DiskPlan& disk) {
  TokenData data;
  data.document_tokens_ = find_document_tokens(tokenizer, config);
  data.token_bytes_ = token_byte_lengths(tokenizer);
  data.rule_ = {.bos = data.document_tokens_.bos,
                .eos = data.document_tokens_.eos,
                .isolated = config.mask_documents,
                .records = config.records,
                .pad = data.document_tokens_.pad,
                .long_conversations = config.long_conversations};
  std::optional<ChatTemplate> chat;
  if (config.records == Records::conversations) {
    chat.emplace(tokenizer, config.chat, data.document_tokens_.bos, data.document_tokens_.eos);
    data.rule_.assistant = chat->opening();
  }
  TokenSpace space{.tokenizer_hash = tokenizer.hash(), .vocab_size = tokenizer.vocab_size(), .records = config.records};
  fs::path folder = cache / cache_name(space, corpus, config, data.document_tokens_);

  ShardCounts counts;
  auto open = [&] {
    data.training_ = open_shards(folder, kTrainingShards, counts.training, space);
    data.heldout_ = open_shards(folder, kHeldOutShards, counts.heldout, space);
    check_documents(counts, data.training_, config.sources.size(), folder);
  };
  if (fs::exists(folder / kDoneFile)) {
    try {
      counts = read_done(folder);
      open();
      data.from_cache_ = true;
    } catch (const InputError& error) {
      log::warn("stored tokens are not usable and are made again: {}", error.what());
    }
  }
  if (!data.from_cache_) {
    counts = tokenise(tokenizer, space, chat, corpus, pool, folder, disk);
    write_done(folder, counts);
    open();
  }
  data.left_out_ = counts.left_out;
  check_part(data.training_, "no training text");
  check_part(data.heldout_, "no held-out text");
  data.set_sources(config, counts.documents);
  return data;
}

PackRule TokenData::pack_rule(int64_t row_length) const {
  PackRule rule = rule_;
  rule.length = row_length;
  return rule;
}

void TokenData::warn_of_long(int64_t row_length) const {
  say_long(training_, pack_rule(row_length), "");
  say_long(heldout_, pack_rule(row_length), "held-out ");
}

}  // namespace tandem
