#include "text/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/unicode.h"
#include "text/word_splitter.h"

namespace tandem {
namespace {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using CountMap = std::unordered_map<std::string, int64_t, StringHash, std::equal_to<>>;

using Pair = std::pair<int32_t, int32_t>;
struct PairHash {
  size_t operator()(const Pair& pair) const {
    uint64_t h =
        (uint64_t{static_cast<uint32_t>(pair.first)} << 32 | static_cast<uint32_t>(pair.second)) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
  }
};

struct PairInfo {
  int64_t count = 0;
  std::vector<uint32_t> words;  // that have had the pair; may name a word twice
};

struct QueueEntry {
  int64_t count;
  Pair pair;
  bool operator<(const QueueEntry& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

// The vocabulary as it grows: special tokens, bytes in the order of their characters, merges.
class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<std::string>& special) : tokens_(special) {
    const ByteAlphabet& alphabet = ByteAlphabet::get();
    std::vector<std::pair<uint32_t, uint8_t>> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      bytes.emplace_back(alphabet.code_point(static_cast<uint8_t>(byte)), static_cast<uint8_t>(byte));
    }
    std::sort(bytes.begin(), bytes.end());
    for (const auto& [code_point, byte] : bytes) {
      symbols_[byte] = static_cast<int32_t>(tokens_.size());
      tokens_.emplace_back(alphabet.text(byte));
    }
    for (size_t id = 0; id < tokens_.size(); ++id) ids_.emplace(tokens_[id], static_cast<int32_t>(id));
  }

  int32_t symbol(char byte) const { return symbols_[static_cast<uint8_t>(byte)]; }
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  const std::vector<std::string>& tokens() const { return tokens_; }
  const std::vector<Pair>& merges() const { return merges_; }

  // Two pairs can spell the same token ("a" "bc", "ab" "c"): they share its id.
  int32_t add_merge(const Pair& pair) {
    std::string text = tokens_[static_cast<size_t>(pair.first)] + tokens_[static_cast<size_t>(pair.second)];
    merges_.push_back(pair);
    auto [found, is_new] = ids_.emplace(text, size());
    if (is_new) tokens_.push_back(text);
    return found->second;
  }

 private:
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<Pair> merges_;
  int32_t symbols_[256];
};

// Counts of neighbouring pairs over all words, kept up to date while pairs are merged.
class PairCounts {
 public:
  PairCounts(const CountMap& words, const Vocabulary& vocabulary) {
    std::vector<const CountMap::value_type*> order;
    for (const auto& entry : words) order.push_back(&entry);
    std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->first < b->first; });
    for (const auto* entry : order) {
      begin_.push_back(symbols_.size());
      for (char byte : entry->first) symbols_.push_back(vocabulary.symbol(byte));
      size_.push_back(static_cast<uint32_t>(entry->first.size()));
      count_.push_back(entry->second);
    }
    for (uint32_t word = 0; word < size_.size(); ++word) {
      const int32_t* s = &symbols_[begin_[word]];
      for (uint32_t i = 0; i + 1 < size_[word]; ++i) change({s[i], s[i + 1]}, word, +1);
    }
    for (const auto& [pair, info] : pairs_) queue_.push({info.count, pair});
    touched_.clear();
  }

  // The most frequent pair, taken out of the queue; count 0 when none is left.
  QueueEntry take_best() {
    while (!queue_.empty()) {
      QueueEntry top = queue_.top();
      queue_.pop();
      int64_t now = pairs_[top.pair].count;
      if (now == top.count) return top;
      if (now > 0) queue_.push({now, top.pair});  // out of date: other merges have used it up in part
    }
    return {0, {}};
  }

  void merge(const Pair& pair, int32_t result) {
    std::vector<uint32_t> words = std::move(pairs_[pair].words);
    pairs_.erase(pair);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    for (uint32_t word : words) merge_in_word(word, pair, result);
    pairs_.erase(pair);
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    for (const Pair& grown : touched_) {
      auto found = pairs_.find(grown);
      if (found != pairs_.end() && found->second.count > 0) queue_.push({found->second.count, grown});
    }
    touched_.clear();
  }

 private:
  void change(const Pair& pair, uint32_t word, int64_t sign) {
    PairInfo& info = pairs_[pair];
    info.count += sign * count_[word];
    if (sign < 0) return;
    if (info.words.empty() || info.words.back() != word) info.words.push_back(word);
    touched_.push_back(pair);
  }

  void merge_in_word(uint32_t word, const Pair& pair, int32_t result) {
    int32_t* s = &symbols_[begin_[word]];
    uint32_t size = size_[word];
    uint32_t out = 0;
    for (uint32_t i = 0; i < size;) {
      if (i + 1 == size || s[i] != pair.first || s[i + 1] != pair.second) {
        s[out++] = s[i++];
        continue;
      }
      if (out > 0) {
        change({s[out - 1], pair.first}, word, -1);
        change({s[out - 1], result}, word, +1);
      }
      if (i + 2 < size) {
        change({pair.second, s[i + 2]}, word, -1);
        change({result, s[i + 2]}, word, +1);
      }
      s[out++] = result;
      i += 2;
    }
    size_[word] = out;
  }

  std::vector<int32_t> symbols_;  // of all words, one after the other
  std::vector<size_t> begin_;
  std::vector<uint32_t> size_;
  std::vector<int64_t> count_;
  std::unordered_map<Pair, PairInfo, PairHash> pairs_;
  std::vector<Pair> touched_;  // pairs that grew since the last merge
  std::priority_queue<QueueEntry> queue_;
};

std::string quoted(const std::string& text) { return Json(text).dump(); }

// In the layout of the library's own files, which keep the vocabulary in the order of its ids.
std::string write_json(const std::vector<std::string>& special, const Vocabulary& vocabulary) {
  constexpr const char* kByteLevel =
      "{{\n    \"type\": \"ByteLevel\",\n    \"add_prefix_space\": {},\n    \"trim_offsets\": true,\n"
      "    \"use_regex\": true\n  }}";
  std::string out = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [";
  for (size_t id = 0; id < special.size(); ++id) {
    out += fmt::format(
        "{}\n    {{\n      \"id\": {},\n      \"content\": {},\n      \"single_word\": false,\n"
        "      \"lstrip\": false,\n      \"rstrip\": false,\n      \"normalized\": false,\n      \"special\": true\n   "
        " }}",
        id == 0 ? "" : ",", id, quoted(special[id]));
  }
  out += fmt::format("{}],\n  \"normalizer\": null,\n  \"pre_tokenizer\": ", special.empty() ? "" : "\n  ");
  out += fmt::format(kByteLevel, "false");
  out += ",\n  \"post_processor\": null,\n  \"decoder\": ";
  out += fmt::format(kByteLevel, "true");
  out +=
      ",\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
      "    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n    \"vocab\": {";
  const auto& tokens = vocabulary.tokens();
  for (size_t id = 0; id < tokens.size(); ++id) {
    out += fmt::format("{}\n      {}: {}", id == 0 ? "" : ",", quoted(tokens[id]), id);
  }
  out += "\n    },\n    \"merges\": [";
  for (size_t i = 0; i < vocabulary.merges().size(); ++i) {
    auto [left, right] = vocabulary.merges()[i];
    out += fmt::format("{}\n      [\n        {},\n        {}\n      ]", i == 0 ? "" : ",",
                       quoted(tokens[static_cast<size_t>(left)]), quoted(tokens[static_cast<size_t>(right)]));
  }
  out += fmt::format("{}]\n  }}\n}}", vocabulary.merges().empty() ? "" : "\n    ");
  return out;
}

void check_options(const TrainBpeOptions& options) {
  int64_t least = 256 + static_cast<int64_t>(options.special_tokens.size());
  if (options.vocab_size < least) {
    throw InputError({.what = "vocabulary is too small",
                      .got = fmt::format("{} tokens", options.vocab_size),
                      .expected = fmt::format("at least {} (256 bytes and {} special tokens)", least,
                                              options.special_tokens.size())});
  }
  std::set<std::string> seen;
  for (const std::string& token : options.special_tokens) {
    require_utf8(token, "special token");
    auto bytes = ByteAlphabet::get().decode(token);
    if (token.empty() || (bytes && bytes->size() == 1) || !seen.insert(token).second) {
      throw InputError({.what = "special token cannot be used",
                        .got = quoted(token),
                        .expected = "different tokens of at least two characters, such as \"<s>\""});
    }
  }
}

}  // namespace

struct BpeTrainer::WordCounts {
  CountMap counts;
};

BpeTrainer::BpeTrainer(TrainBpeOptions options) : options_(std::move(options)), words_(std::make_unique<WordCounts>()) {
  check_options(options_);
}

BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::add(std::string_view document, const std::string& where) {
  require_utf8(document, where);
  for (size_t at = 0; at < document.size();) {
    size_t size = gpt2_word(document, at);
    std::string_view word = document.substr(at, size);
    at += size;
    auto found = words_->counts.find(word);
    if (found != words_->counts.end()) {
      ++found->second;
    } else {
      words_->counts.emplace(word, 1);
    }
  }
}

std::string BpeTrainer::train() const {
  if (words_->counts.empty()) {
    throw InputError({.what = "no text to train a tokenizer on", .expected = "at least one character"});
  }
  constexpr int32_t kProgressEvery = 256;
  Vocabulary vocabulary(options_.special_tokens);
  PairCounts pairs(words_->counts, vocabulary);
  while (vocabulary.size() < options_.vocab_size) {
    QueueEntry best = pairs.take_best();
    if (best.count < std::max<int64_t>(1, options_.min_frequency)) break;
    pairs.merge(best.pair, vocabulary.add_merge(best.pair));
    if (options_.progress && vocabulary.size() % kProgressEvery == 0) {
      options_.progress(vocabulary.size(), options_.vocab_size);
    }
  }
  return write_json(options_.special_tokens, vocabulary);
}

std::string train_bpe(const std::vector<std::string_view>& documents, const TrainBpeOptions& options) {
  BpeTrainer trainer(options);
  for (std::string_view document : documents) trainer.add(document);
  return trainer.train();
}

}  // namespace tandem
