// Made-up texts that can only be continued by looking back: random letters that are said twice (Jelassi et al. 2024,
// "Repeat after me") and pairs whose second halves are asked for (multi-query associative recall; Arora et al. 2023,
// "Zoology").
//
//   Copy: k f d a | k f d a
//   Pairs: ba to de vu ki sa | de vu ba to ki sa
//
// They are words, so that they can be asked with every tokenizer; one that was trained on such texts has a token for
// each of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"

namespace tandem {

enum class MemoryKind {
  copy,   // the letters behind the bar
  pairs,  // behind it every key once more, in another order, each with its value
};

struct MemoryTask {
  std::vector<std::string> words;  // joined they are the text: all but the first begin with their space
  std::vector<size_t> answers;     // of them, those that what stands before determines; ascending
  std::string text() const;
};

inline constexpr int64_t kMostPairs = 65;  // that have different keys

// `size`: letters, or pairs (at most kMostPairs). Letters, and values of pairs, are drawn with replacement.
MemoryTask make_memory_task(MemoryKind kind, int64_t size, Rng& rng);

// Sizes of training texts are drawn from 1 to this; larger ones ask whether the rule was learnt.
int64_t longest_in_training(MemoryKind kind);

}  // namespace tandem
