// Text that a model is scored on, tokenised and packed as training rows are.
#pragma once

#include <string>
#include <vector>

#include "data/heldout.h"
#include "model_options.h"

namespace tandem::app {

struct TextOptions {
  std::vector<std::string> data;  // files and folders
  int64_t rows = 0;               // at most, spread evenly; 0: all
  bool heldout_only = false;      // only the part that training on the same paths would have held out
};

// --data, --rows and --heldout.
void add_text_options(CLI::App& verb, TextOptions& options);

HeldOut pack_text(const LoadedModel& loaded, const TextOptions& options);

// Rows of `length` tokens, BOS and a piece of one document each; the rest of a document that fills no row is not read.
// InputError when no document is so long.
HeldOut pack_documents(const LoadedModel& loaded, const TextOptions& options, int64_t length);

}  // namespace tandem::app
