// All the text of a run: files, folders and synthetic stories, already parted into training and held-out text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/config.h"
#include "data/source.h"

namespace tandem {

// The word that stands for made-up stories in DataConfig::sources and DataConfig::heldout.
inline constexpr std::string_view kSyntheticSource = "synthetic";

enum class CorpusPart { kTraining, kHeldOut };

class Corpus {
 public:
  // Lists and checks the files. InputError as in list_sources; for a file that is both trained on and held out; for
  // sources without any text.
  explicit Corpus(const DataConfig& config);

  // Names files, contents and settings: equal fingerprints, equal documents.
  uint64_t fingerprint() const;

  using Visit = std::function<void(CorpusPart part, std::string_view text)>;
  // Every document of both parts, in a fixed order. The view is valid during the call only.
  void for_each(const Visit& visit) const;

  // Training documents of at most `max_bytes` in total, evenly spread over the corpus: what a tokenizer is trained on.
  // The size of the corpus is taken from its files, so JSONL gives less by what its records hold beside the text.
  std::vector<std::string> training_sample(int64_t max_bytes) const;

 private:
  std::vector<SourceFile> training_;
  std::vector<SourceFile> heldout_;
  bool explicit_heldout_ = false;
  bool synthetic_training_ = false;
  bool synthetic_heldout_ = false;
  int64_t synthetic_bytes_ = 0;
  uint64_t synthetic_seed_ = 0;
};

}  // namespace tandem
