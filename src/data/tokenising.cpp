#include "data/tokenising.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "text/encoder.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

// Text that is encoded in one go; bounds the memory that tokenising takes beside the longest document.
constexpr size_t kBytesPerRound = size_t{8} << 20;

struct Waiting {
  CorpusPart part;
  size_t source;
  uint64_t text_bytes;
  std::string text;
  std::vector<ChatMessage> messages;
  std::string place;
};

// Encodes documents in rounds and writes them in their order.
class Tokenising {
 public:
  Tokenising(const Tokenizer& tokenizer, const TokenSpace& space, const std::optional<ChatTemplate>& chat,
             const Corpus& corpus, ThreadPool& pool, const fs::path& folder, const DiskPlan& disk)
      : space_(space),
        chat_(chat),
        corpus_(corpus),
        pool_(pool),
        folder_(folder),
        disk_(disk),
        encoders_(static_cast<size_t>(pool.threads()), Encoder(tokenizer)) {
    counts_.documents.resize(corpus.source_names().size(), 0);
  }

  void add(const CorpusDocument& document) {
    uint64_t bytes = document.text_bytes();
    waiting_.push_back({.part = document.part,
                        .source = document.source,
                        .text_bytes = bytes,
                        .text = std::string(document.text),
                        .messages = {document.messages.begin(), document.messages.end()},
                        .place = std::string(document.place)});
    bytes_ += bytes;
    if (bytes_ >= kBytesPerRound) finish_round();
  }

  ShardCounts finish() {
    finish_round();
    counts_.training = training_->finish();
    counts_.heldout = heldout_->finish();
    return counts_;
  }

 private:
  std::vector<uint32_t> encode(const Waiting& document, int worker) {
    if (space_.records == Records::text) {
      std::vector<int32_t> ids = encoders_[static_cast<size_t>(worker)].encode(document.text);
      return {ids.begin(), ids.end()};
    }
    try {
      RenderedChat chat = chat_->render(document.messages);
      return mark_responses(chat.ids, chat.roles);
    } catch (const InputError& error) {
      throw InputError({.what = "conversation that cannot be written", .where = document.place, .hint = error.what()});
    }
  }

  void finish_round() {
    std::vector<std::vector<uint32_t>> ids(waiting_.size());
    pool_.run(static_cast<int64_t>(waiting_.size()), [&](int64_t i, int worker) {
      auto at = static_cast<size_t>(i);
      ids[at] = encode(waiting_[at], worker);
    });
    if (!training_) begin_writing(ids);
    for (size_t i = 0; i < ids.size(); ++i) {
      bool training = waiting_[i].part == CorpusPart::kTraining;
      if (training) ++counts_.documents[waiting_[i].source];
      (training ? *training_ : *heldout_).add_stored(ids[i], waiting_[i].text_bytes);
    }
    waiting_.clear();
    bytes_ = 0;
  }

  // The first round tells how many bytes of shards a byte of text gives.
  void begin_writing(const std::vector<std::vector<uint32_t>>& ids) {
    double stored = 0;
    for (const auto& document : ids)
      stored += static_cast<double>(document.size() * sizeof(uint32_t) + sizeof(uint64_t));
    auto total = static_cast<double>(std::max<uint64_t>(corpus_.estimated_text_bytes(), bytes_));
    double estimate = bytes_ > 0 ? stored * total / static_cast<double>(bytes_) : 0;
    require_disk_space(folder_, static_cast<uint64_t>(estimate), "tokenised text", disk_);
    create_folder(folder_);
    training_.emplace(folder_, kTrainingShards, space_);
    heldout_.emplace(folder_, kHeldOutShards, space_);
  }

  const TokenSpace& space_;
  const std::optional<ChatTemplate>& chat_;
  const Corpus& corpus_;
  ThreadPool& pool_;
  const fs::path& folder_;
  const DiskPlan& disk_;
  std::vector<Encoder> encoders_;  // one for each thread
  std::optional<ShardSetWriter> training_;
  std::optional<ShardSetWriter> heldout_;
  ShardCounts counts_;
  std::vector<Waiting> waiting_;
  uint64_t bytes_ = 0;
};

}  // namespace

ShardCounts tokenise(const Tokenizer& tokenizer, const TokenSpace& space, const std::optional<ChatTemplate>& chat,
                     const Corpus& corpus, ThreadPool& pool, const fs::path& folder, const DiskPlan& disk) {
  Stopwatch watch;
  Tokenising tokenising(tokenizer, space, chat, corpus, pool, folder, disk);
  int64_t left_out = corpus.for_each([&](const CorpusDocument& document) { tokenising.add(document); });
  ShardCounts counts = tokenising.finish();
  counts.left_out = left_out;
  log::info("text tokenised in {:.1f} s into {}", watch.seconds(), folder.string());
  if (left_out > 0) log::warn("{} training documents are held out as well: they are not trained on", left_out);
  return counts;
}

}  // namespace tandem
