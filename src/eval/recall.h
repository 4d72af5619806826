// Recall of facts that a story stated long before (data/synthetic.h makes the questions).
#pragma once

#include <cstdint>
#include <vector>

#include "arch/model.h"
#include "data/synthetic.h"
#include "text/tokenizer.h"

namespace tandem {

struct RecallResult {
  int64_t questions = 0;  // that were asked
  int64_t skipped = 0;    // whose text does not fit into the model's rows
  int64_t right = 0;      // the answer had the largest log-likelihood among the choices
  int64_t greedy = 0;     // greedy decoding writes the answer, unprompted by choices

  double accuracy() const;         // right / questions, 0 without questions
  double greedy_accuracy() const;  // greedy / questions
};

// The model reads BOS (`bos` >= 0) and the prompt as it reads a text that it continues: the double decoder opens its
// block at the prompt's last token, so that the fact is in the encoder's part. Ties among choices count as wrong.
RecallResult evaluate_recall(Model& model, Tape& tape, const Tokenizer& tokenizer, int32_t bos,
                             const std::vector<RecallQuestion>& questions);

}  // namespace tandem
