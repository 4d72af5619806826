#include "data/corpus.h"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "base/hash.h"
#include "data/conversation.h"
#include "data/memory_tasks.h"
#include "data/synthetic.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

// Raised when the rule that parts text or makes stories changes: caches of older rules are then not found.
constexpr uint64_t kRuleVersion = 2;
constexpr int64_t kHeldOutStories = 20;  // one part of so many of the synthetic text

struct SyntheticName {
  std::string_view name;
  Synthetic kind;
};
constexpr std::array<SyntheticName, 3> kSyntheticNames{
    {{"synthetic", Synthetic::stories}, {"synthetic_copy", Synthetic::copy}, {"synthetic_mqar", Synthetic::pairs}}};

// The n-th text of a kind. Different kinds and splits never come from the same random numbers.
std::string synthetic_text(Synthetic kind, uint64_t seed, SyntheticSplit split, uint64_t index) {
  if (kind == Synthetic::stories) return StoryMaker(seed, split).story(index).text;
  MemoryKind memory = kind == Synthetic::copy ? MemoryKind::copy : MemoryKind::pairs;
  // Split and kind stand in bits that no index reaches.
  Rng rng(seed, static_cast<uint64_t>(split) << 60 | (static_cast<uint64_t>(memory) + 1) << 56 | index);
  int64_t size = 1 + rng.below(static_cast<uint32_t>(longest_in_training(memory)));
  return make_memory_task(memory, size, rng).text();
}

std::vector<SourceFile> list_one(const std::string& path, Records records) { return list_sources({path}, records); }

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

void add_once(std::vector<Synthetic>& kinds, Synthetic kind) {
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
}

uint64_t bytes_of(const std::vector<SourceFile>& files) {
  uint64_t bytes = 0;
  for (const SourceFile& file : files) bytes += file.documents > 0 ? file.bytes : 0;
  return bytes;
}

uint64_t text_bytes_of(const std::vector<SourceFile>& files) {
  double bytes = 0;
  for (const SourceFile& file : files) bytes += static_cast<double>(file.bytes) * file.text_share;
  return static_cast<uint64_t>(bytes);
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

uint64_t hash_of(const CorpusDocument& document) {
  return document.messages.empty() ? hash64(document.text) : hash_conversation(document.messages);
}

std::string whole_text(const CorpusDocument& document) {
  std::string text(document.text);
  for (const ChatMessage& message : document.messages) text += message.content + "\n";
  return text;
}

// Gives documents on, parted by the rule, and counts those that are left out.
class Parting {
 public:
  Parting(const HoldoutRule& rule, const Corpus::Visit& visit) : rule_(rule), visit_(visit) {}

  void hold_out(CorpusDocument document) {
    document.part = CorpusPart::kHeldOut;
    heldout_.insert(hash_of(document));
    visit_(document);
  }

  void train(CorpusDocument document, size_t source) {
    document.source = source;
    if (!heldout_.empty() && heldout_.count(hash_of(document)) > 0) {
      ++left_out_;
      return;
    }
    visit_(document);
  }

  void part(const CorpusDocument& document, size_t source) {
    if (rule_.kind == HoldoutRule::Kind::kNothing) return train(document, source);
    if (document.messages.empty()) return part_text(document, source);
    CorpusDocument copy = document;
    copy.source = source;
    if (hash_of(document) < rule_.below) copy.part = CorpusPart::kHeldOut;
    visit_(copy);
  }

  int64_t left_out() const { return left_out_; }

 private:
  void part_text(CorpusDocument document, size_t source) {
    document.source = source;
    SplitDocument parts = split_document(document.text, rule_);
    document.text = parts.training;
    if (!document.text.empty()) visit_(document);
    document.part = CorpusPart::kHeldOut;
    document.text = parts.heldout;
    if (!document.text.empty()) visit_(document);
  }

  const HoldoutRule& rule_;
  const Corpus::Visit& visit_;
  std::unordered_set<uint64_t> heldout_;  // hashes of the documents of held-out files
  int64_t left_out_ = 0;
};

}  // namespace

std::optional<Synthetic> synthetic_source(std::string_view name) {
  for (const SyntheticName& each : kSyntheticNames) {
    if (each.name == name) return each.kind;
  }
  return std::nullopt;
}

uint64_t CorpusDocument::text_bytes() const {
  uint64_t bytes = text.size();
  for (const ChatMessage& message : messages) bytes += message.content.size();
  return bytes;
}

Corpus::Corpus(const DataConfig& config)
    : records_(config.records),
      names_(config.sources),
      heldout_share_(config.heldout_share),
      explicit_heldout_(!config.heldout.empty()),
      synthetic_bytes_(config.synthetic_bytes),
      synthetic_seed_(static_cast<uint64_t>(config.synthetic_seed)) {
  check(config, "");
  for (const std::string& name : config.sources) {
    Source source{.files = {}, .synthetic = synthetic_source(name)};
    if (source.synthetic) {
      add_once(synthetic_training_, *source.synthetic);
    } else {
      source.files = list_one(name, records_);
    }
    sources_.push_back(std::move(source));
  }
  std::vector<std::string> heldout;
  for (const std::string& name : config.heldout) {
    if (auto kind = synthetic_source(name)) {
      add_once(synthetic_heldout_, *kind);
    } else {
      heldout.push_back(name);
    }
  }
  if (!explicit_heldout_) synthetic_heldout_ = synthetic_training_;
  heldout_ = list_sources(heldout, records_);
  if (records_ == Records::conversations && !(synthetic_training_.empty() && synthetic_heldout_.empty())) {
    throw InputError({.what = "synthetic texts are no conversations",
                      .where = "data.sources",
                      .expected = "JSONL files with data.records = \"conversations\""});
  }
  std::vector<SourceFile> training = training_files();
  check_disjoint(training, heldout_);
  if (synthetic_training_.empty() && bytes_of(training) == 0) empty_corpus("data.sources", config.sources);
  if (explicit_heldout_ && synthetic_heldout_.empty() && bytes_of(heldout_) == 0) {
    empty_corpus("data.heldout", config.heldout);
  }
}

std::vector<SourceFile> Corpus::training_files() const {
  std::vector<SourceFile> files;
  for (const Source& source : sources_) files.insert(files.end(), source.files.begin(), source.files.end());
  return files;
}

uint64_t Corpus::fingerprint() const {
  Hash64 hash;
  hash.add_number(kRuleVersion);
  hash.add_number(static_cast<uint64_t>(records_));
  hash.add_number(sources_.size());
  for (const Source& source : sources_) {
    hash.add_number(source.synthetic ? static_cast<uint64_t>(*source.synthetic) + 1 : 0);
    add_files(hash, source.files);
  }
  add_files(hash, heldout_);
  hash.add_number(explicit_heldout_);
  if (!explicit_heldout_) hash.add(&heldout_share_, sizeof heldout_share_);
  for (const std::vector<Synthetic>& kinds : {synthetic_training_, synthetic_heldout_}) {
    hash.add_number(kinds.size());
    for (Synthetic kind : kinds) {
      // Stories came first: caches of them are found as before.
      if (kind != Synthetic::stories) hash.add_number(static_cast<uint64_t>(kind));
    }
    if (kinds.empty()) continue;
    hash.add_number(static_cast<uint64_t>(synthetic_bytes_));
    hash.add_number(synthetic_seed_);
  }
  return hash.value();
}

uint64_t Corpus::estimated_text_bytes() const {
  uint64_t bytes = text_bytes_of(training_files()) + text_bytes_of(heldout_);
  auto synthetic = static_cast<uint64_t>(synthetic_bytes_);
  bytes += synthetic_training_.size() * synthetic;
  bytes += synthetic_heldout_.size() * synthetic / kHeldOutStories;
  return bytes;
}

// What is held out of files when nothing else is named for it.
HoldoutRule Corpus::choose_rule() const {
  std::vector<SourceFile> files = training_files();
  if (explicit_heldout_ || files.empty()) return {};
  if (records_ == Records::text) return make_holdout_rule(files, heldout_share_);
  HoldoutChoice choice(heldout_share_);
  for_each_conversation(files, [&](std::span<const ChatMessage> messages, const std::string&) {
    choice.add(hash_conversation(messages));
  });
  return choice.rule();
}

void Corpus::visit_files(const std::vector<SourceFile>& files, const Visit& visit) const {
  CorpusDocument document;
  if (records_ == Records::conversations) {
    for_each_conversation(files, [&](std::span<const ChatMessage> messages, const std::string& place) {
      document.messages = messages;
      document.place = place;
      visit(document);
    });
    return;
  }
  for_each_document(files, [&](std::string_view text) {
    document.text = text;
    if (!text.empty()) visit(document);
  });
}

void Corpus::visit_synthetic(Synthetic kind, CorpusPart part, const Visit& visit) const {
  bool training = part == CorpusPart::kTraining;
  SyntheticSplit split = training ? SyntheticSplit::kTraining : SyntheticSplit::kHeldOut;
  int64_t bytes = training ? synthetic_bytes_ : synthetic_bytes_ / kHeldOutStories + 1;
  for (uint64_t i = 0; bytes > 0; ++i) {
    std::string text = synthetic_text(kind, synthetic_seed_, split, i);
    bytes -= static_cast<int64_t>(text.size());
    visit({.part = part, .source = 0, .text = text, .messages = {}, .place = {}});
  }
}

int64_t Corpus::for_each(const Visit& visit) const {
  HoldoutRule rule = choose_rule();
  Parting parting(rule, visit);
  visit_files(heldout_, [&](const CorpusDocument& document) { parting.hold_out(document); });
  for (Synthetic kind : synthetic_heldout_) visit_synthetic(kind, CorpusPart::kHeldOut, visit);
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (sources_[i].synthetic) {
      visit_synthetic(*sources_[i].synthetic, CorpusPart::kTraining,
                      [&](const CorpusDocument& document) { parting.train(document, i); });
    } else {
      visit_files(sources_[i].files, [&](const CorpusDocument& document) { parting.part(document, i); });
    }
  }
  return parting.left_out();
}

std::vector<std::string> Corpus::training_sample(int64_t max_bytes) const {
  uint64_t total = bytes_of(training_files());
  total += synthetic_training_.size() * static_cast<uint64_t>(synthetic_bytes_);
  std::vector<std::string> sample;
  // A document is taken when the share that was taken so far lags behind the share that was seen.
  double share = std::min(1.0, static_cast<double>(max_bytes) / static_cast<double>(std::max<uint64_t>(total, 1)));
  double seen = 0;
  int64_t taken = 0;
  for_each([&](const CorpusDocument& document) {
    if (document.part != CorpusPart::kTraining) return;
    auto size = static_cast<double>(document.text_bytes());
    seen += size;
    if (share < 1 && !sample.empty() && static_cast<double>(taken) + size > share * seen) return;
    std::string text = whole_text(document);
    size_t bytes = std::min(text.size(), static_cast<size_t>(max_bytes - taken));
    while (bytes < text.size() && bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
    if (bytes == 0) return;
    sample.push_back(text.substr(0, bytes));
    taken += static_cast<int64_t>(bytes);
  });
  return sample;
}

}  // namespace tandem
