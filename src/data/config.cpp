#include "data/config.h"

#include "base/error.h"

namespace tandem {

void list_fields(FieldList& fields, DataConfig& config) {
  fields.add("sources", config.sources,
             "training text: .txt and .jsonl files, folders, or the word synthetic for stories made by the program");
  fields.add("heldout", config.heldout, "text for the validation loss; empty: about 5 % of the sources");
  fields.add("tokenizer", config.tokenizer, "a tokenizer.json; empty: one is trained on the training text");
  fields.add("vocab_size", config.vocab_size, "entries of the tokenizer that is trained when none is given");
  fields.add("bos_token", config.bos_token, "token that opens a document; empty: found by its usual names");
  fields.add("eos_token", config.eos_token, "token that ends a document; empty: found by its usual names");
  fields.add("cache", config.cache, "folder for tokenised text; empty: inside the run folder");
  fields.add("synthetic_bytes", config.synthetic_bytes, "size of the synthetic training text");
  fields.add("synthetic_seed", config.synthetic_seed, "seed of the synthetic text");
  fields.add("seed", config.seed, "seed of the order in which documents are read");
}

void check(const DataConfig& config, const std::string& where) {
  auto positive = [&](int64_t value, const char* key) {
    if (value > 0) return;
    throw InputError({.what = std::string("bad value of 'data.") + key + "'",
                      .where = where,
                      .got = std::to_string(value),
                      .expected = "a positive number"});
  };
  if (config.sources.empty()) {
    throw InputError({.what = "no training text",
                      .where = where,
                      .got = "an empty 'data.sources'",
                      .expected = "files, folders, or \"synthetic\""});
  }
  positive(config.vocab_size, "vocab_size");
  positive(config.synthetic_bytes, "synthetic_bytes");
}

}  // namespace tandem
