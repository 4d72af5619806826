// What is evaluated, and who watches.
#pragma once

#include <cstdint>
#include <functional>

#include "arch/model.h"
#include "base/json_fwd.h"
#include "text/tokenizer.h"

namespace tandem {

// A model with what is needed to ask it questions. Texts begin with BOS and end with EOS (negative: the tokenizer has
// none). `tape` must not record.
struct Subject {
  Model& model;
  Tape& tape;
  const Tokenizer& tokenizer;
  int32_t bos = -1;
  int32_t eos = -1;
};

struct EvalHooks {
  // How many of the questions are done; what it throws (base/cancelled.h) ends the evaluation.
  std::function<void(int64_t done, int64_t total)> progress;
  // A line about each question that was asked, in order.
  std::function<void(const OrderedJson& item)> item;

  void done(int64_t count, int64_t total) const {
    if (progress) progress(count, total);
  }
};

}  // namespace tandem
