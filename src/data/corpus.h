// All the documents of a run: files, folders and made-up texts, already parted into training and held-out ones.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/config.h"
#include "data/source.h"

namespace tandem {

// Texts that the program makes, and the words that stand for them in DataConfig::sources and DataConfig::heldout.
enum class Synthetic {
  stories,  // "synthetic": data/synthetic.h
  copy,     // "synthetic_copy": data/memory_tasks.h
  pairs,    // "synthetic_mqar": likewise
};
std::optional<Synthetic> synthetic_source(std::string_view name);

enum class CorpusPart { kTraining, kHeldOut };

// Views that are valid during a visit only.
struct CorpusDocument {
  CorpusPart part = CorpusPart::kTraining;
  size_t source = 0;                      // training: its place in DataConfig::sources
  std::string_view text;                  // of Records::text
  std::span<const ChatMessage> messages;  // of Records::conversations
  std::string_view place;                 // conversations: file and line

  uint64_t text_bytes() const;  // of the text or of all messages
};

class Corpus {
 public:
  // Lists and checks the files. InputError as in list_sources; for a file that is both trained on and held out; for
  // sources without any text.
  explicit Corpus(const DataConfig& config);

  Records records() const { return records_; }
  const std::vector<std::string>& source_names() const { return names_; }

  // Names files, contents and settings: equal fingerprints, equal documents.
  uint64_t fingerprint() const;

  // Of all documents, as far as a look at the beginning of each file tells.
  uint64_t estimated_text_bytes() const;

  using Visit = std::function<void(const CorpusDocument& document)>;
  // Every document of both parts in a fixed order: the held-out files, then the sources one after the other. Training
  // documents that are equal to one of the held-out files are left out; returns how many.
  int64_t for_each(const Visit& visit) const;

  // Training documents of at most `max_bytes` in total, evenly spread over the corpus: what a tokenizer is trained on.
  std::vector<std::string> training_sample(int64_t max_bytes) const;

 private:
  struct Source {
    std::vector<SourceFile> files;  // none: made up
    std::optional<Synthetic> synthetic;
  };
  void visit_files(const std::vector<SourceFile>& files, const Visit& visit) const;
  void visit_synthetic(Synthetic kind, CorpusPart part, const Visit& visit) const;
  std::vector<SourceFile> training_files() const;
  HoldoutRule choose_rule() const;

  Records records_;
  std::vector<std::string> names_;
  std::vector<Source> sources_;
  std::vector<SourceFile> heldout_;
  double heldout_share_;
  bool explicit_heldout_ = false;
  std::vector<Synthetic> synthetic_training_;  // each kind once, in the order of the sources
  std::vector<Synthetic> synthetic_heldout_;
  int64_t synthetic_bytes_ = 0;
  uint64_t synthetic_seed_ = 0;
};

}  // namespace tandem
