// Copying and multi-query associative recall (data/memory_tasks.h makes the texts), by length.
#pragma once

#include <vector>

#include "data/memory_tasks.h"
#include "eval/share.h"
#include "eval/subject.h"

namespace tandem {

struct MemoryOptions {
  MemoryKind kind = MemoryKind::copy;
  std::vector<int64_t> sizes;  // letters or pairs
  int64_t trials = 100;        // texts of each size
  uint64_t seed = 1;
};

struct MemoryCell {
  int64_t size = 0;
  int64_t items = 0;    // texts that were asked
  int64_t skipped = 0;  // that do not fit into the model's positions
  Share words;          // letters or values whose every token had the largest logit behind the right ones before it
  Share whole;          // texts of which all words are right; of copies, those that greedy decoding writes
};

struct MemoryResult {
  MemoryKind kind = MemoryKind::copy;
  std::vector<MemoryCell> cells;  // one per size
  Share words() const;
  Share whole() const;
};

// The model reads the text up to its first answer as a text that it continues, and is scored on the rest. InputError
// for a size that cannot be made, and for a tokenizer that joins words.
MemoryResult evaluate_memory(const Subject& subject, const MemoryOptions& options, const EvalHooks& hooks = {});

OrderedJson to_json(const MemoryResult& result);

}  // namespace tandem
