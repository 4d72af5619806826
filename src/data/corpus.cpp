#include "data/corpus.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "data/hash.h"
#include "data/synthetic.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

// Raised when the rule that parts text or makes stories changes: caches of older rules are then not found.
constexpr uint64_t kRuleVersion = 1;

// Takes the word "synthetic" out of a list of paths.
bool take_synthetic(std::vector<std::string>& paths) { return std::erase(paths, std::string(kSyntheticSource)) > 0; }

void check_disjoint(const std::vector<SourceFile>& training, const std::vector<SourceFile>& heldout) {
  std::set<fs::path> trained;
  for (const SourceFile& file : training) trained.insert(fs::canonical(file.path));
  for (const SourceFile& file : heldout) {
    if (!trained.count(fs::canonical(file.path))) continue;
    throw InputError({.what = "held-out file is training text as well",
                      .where = file.path.string(),
                      .hint = "take it out of data.sources or data.heldout"});
  }
}

int64_t bytes_of(const std::vector<SourceFile>& files) {
  uint64_t bytes = 0;
  for (const SourceFile& file : files) bytes += file.documents > 0 ? file.bytes : 0;
  return static_cast<int64_t>(bytes);
}

[[noreturn]] void empty_corpus(const char* key, const std::vector<std::string>& paths) {
  throw InputError({.what = "empty corpus",
                    .where = key,
                    .got = "no text in " + (paths.empty() ? "an empty list" : "'" + paths.front() + "'"),
                    .expected = "at least one document"});
}

void add_files(Hash64& hash, const std::vector<SourceFile>& files) {
  hash.add_number(files.size());
  for (const SourceFile& file : files) {
    hash.add_sized(file.path.string());
    hash.add_number(file.bytes);
    hash.add_number(file.hash);
  }
}

}  // namespace

Corpus::Corpus(const DataConfig& config)
    : explicit_heldout_(!config.heldout.empty()),
      synthetic_bytes_(config.synthetic_bytes),
      synthetic_seed_(static_cast<uint64_t>(config.synthetic_seed)) {
  check(config, "");
  std::vector<std::string> sources = config.sources, heldout = config.heldout;
  synthetic_training_ = take_synthetic(sources);
  bool asked = take_synthetic(heldout);
  synthetic_heldout_ = explicit_heldout_ ? asked : synthetic_training_;
  training_ = list_sources(sources);
  heldout_ = list_sources(heldout);
  check_disjoint(training_, heldout_);
  if (!synthetic_training_ && bytes_of(training_) == 0) empty_corpus("data.sources", config.sources);
  if (explicit_heldout_ && !synthetic_heldout_ && bytes_of(heldout_) == 0) {
    empty_corpus("data.heldout", config.heldout);
  }
}

uint64_t Corpus::fingerprint() const {
  Hash64 hash;
  hash.add_number(kRuleVersion);
  add_files(hash, training_);
  add_files(hash, heldout_);
  hash.add_number(explicit_heldout_);
  for (bool synthetic : {synthetic_training_, synthetic_heldout_}) {
    hash.add_number(synthetic);
    if (!synthetic) continue;
    hash.add_number(static_cast<uint64_t>(synthetic_bytes_));
    hash.add_number(synthetic_seed_);
  }
  return hash.value();
}

void Corpus::for_each(const Visit& visit) const {
  auto give = [&](CorpusPart part, std::string_view text) {
    if (!text.empty()) visit(part, text);
  };
  HoldoutRule rule;
  if (!explicit_heldout_ && !training_.empty()) rule = make_holdout_rule(training_);
  for_each_document(training_, [&](std::string_view text) {
    SplitDocument parts = split_document(text, rule);
    give(CorpusPart::kTraining, parts.training);
    give(CorpusPart::kHeldOut, parts.heldout);
  });
  for_each_document(heldout_, [&](std::string_view text) { give(CorpusPart::kHeldOut, text); });
  auto give_stories = [&](CorpusPart part, SyntheticSplit split, int64_t bytes) {
    StoryMaker maker(synthetic_seed_, split);
    for (uint64_t i = 0; bytes > 0; ++i) {
      std::string text = maker.story(i).text;
      bytes -= static_cast<int64_t>(text.size());
      give(part, text);
    }
  };
  if (synthetic_training_) give_stories(CorpusPart::kTraining, SyntheticSplit::kTraining, synthetic_bytes_);
  if (synthetic_heldout_) give_stories(CorpusPart::kHeldOut, SyntheticSplit::kHeldOut, synthetic_bytes_ / 20 + 1);
}

std::vector<std::string> Corpus::training_sample(int64_t max_bytes) const {
  int64_t total = bytes_of(training_) + (synthetic_training_ ? synthetic_bytes_ : 0);
  std::vector<std::string> sample;
  // A document is taken when the share that was taken so far lags behind the share that was seen.
  double share = std::min(1.0, static_cast<double>(max_bytes) / static_cast<double>(std::max<int64_t>(total, 1)));
  double seen = 0;
  int64_t taken = 0;
  for_each([&](CorpusPart part, std::string_view text) {
    if (part != CorpusPart::kTraining) return;
    seen += static_cast<double>(text.size());
    if (share < 1 && !sample.empty() && static_cast<double>(taken) + static_cast<double>(text.size()) > share * seen)
      return;
    size_t bytes = std::min(text.size(), static_cast<size_t>(max_bytes - taken));
    while (bytes < text.size() && bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
    if (bytes == 0) return;
    sample.emplace_back(text.substr(0, bytes));
    taken += static_cast<int64_t>(bytes);
  });
  return sample;
}

}  // namespace tandem
