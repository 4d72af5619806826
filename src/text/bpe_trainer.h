// Learns a byte-level BPE vocabulary of the GPT-2 kind from text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

struct TrainBpeOptions {
  int32_t vocab_size = 8192;  // special tokens and the 256 bytes included
  // Ids 0, 1, 2 and so on.
  std::vector<std::string> special_tokens = {"<pad>", "<s>", "</s>", "<user>", "<assistant>"};
  int64_t min_frequency = 2;  // pairs that occur less often are not merged
  // Called now and then with the size reached and the size wanted.
  std::function<void(int32_t size, int32_t wanted)> progress;
};

// Takes documents one by one and keeps only the counts of their words.
class BpeTrainer {
 public:
  // InputError when the vocabulary has no room for the special tokens and the bytes, or special tokens are empty,
  // given twice, or a single character of the byte-level alphabet.
  explicit BpeTrainer(TrainBpeOptions options);
  ~BpeTrainer();

  // InputError, naming `where`, when the text is not UTF-8.
  void add(std::string_view document, const std::string& where = "");

  // The tokenizer.json. The pair with the highest count is merged first; of equals the one with the smaller ids. The
  // same documents in any order give the same file byte for byte. The vocabulary is smaller than asked for when the
  // text has too few pairs. InputError when there was no text at all.
  std::string train() const;

 private:
  struct WordCounts;
  TrainBpeOptions options_;
  std::unique_ptr<WordCounts> words_;
};

// All in one.
std::string train_bpe(const std::vector<std::string_view>& documents, const TrainBpeOptions& options);

}  // namespace tandem
