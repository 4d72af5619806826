// Fine-tuning: a run that begins with the parameters of another run's model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "arch/model.h"
#include "base/json_fwd.h"
#include "text/tokenizer.h"
#include "train/run_config.h"

namespace tandem {

// Where a run's parameters come from, as its folder records it (origin.json).
struct Origin {
  std::string model;                      // the model folder
  std::string weights;                    // hash of its model.safetensors
  std::string tokenizer;                  // hash of its tokenizer
  int64_t inherited_rows = 0;             // of the embedding, sentinels that moved included
  std::vector<std::string> added_tokens;  // whose rows are new
};
OrderedJson to_json(const Origin& origin);

// The model folder that `init` names: itself, or its model/ when it is a run folder. InputError when there is none.
std::filesystem::path find_init(const std::string& init);

// Completes a config whose `init` is set. All of [model] becomes that of the model, but for what may change without
// touching a parameter: max_seq_len, and what is drawn in training (blocks, corrupted spans). The vocabulary grows by
// the tokens that its tokenizer lacks; sentinels behind the tokenizer's ids move up. data.tokenizer becomes the
// model's. A run that was begun has all of this in its folder already, and the model it began with may be gone.
// `given`: the fields of `config`, knowing which ones the user has set. InputError: no such model; a given value that
// is not the model's; a given tokenizer with another hash.
void inherit(RunConfig& config, const FieldList& given, const std::string& where);

// A config as the commands read it: the file, the overrides, and what comes from the model that `init` names.
RunConfig load_run_config(const std::string& name, std::span<const std::string> overrides);

// Parameters for a new run: those of the model, and for tokens that it did not have fresh rows of the embedding.
//
// New rows are drawn as all rows of an embedding are at the start of training, from the same stream of the same seed.
// That is the muP-consistent choice: the size of embedding rows and of their updates is the one thing that does not
// depend on the width (the group has the base rate), so a fresh row meets the same rates at every width, and a logit of
// a new token starts as small as all logits once did. The mean of the trained rows, another common choice, gives new
// tokens a head start in probability that grows with the training behind the model.
//
// InputError when a tensor does not fit.
Origin begin_with(const std::filesystem::path& folder, const Tokenizer& tokenizer, Model& model, uint64_t seed);

}  // namespace tandem
