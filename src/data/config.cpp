#include "data/config.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {
namespace {

void check_weights(const DataConfig& config, const std::string& where) {
  const std::vector<double>& weights = config.weights;
  if (weights.empty()) return;
  if (weights.size() != config.sources.size()) {
    throw InputError({.what = "bad value of 'data.weights'",
                      .where = where,
                      .got = fmt::format("{} numbers", weights.size()),
                      .expected = fmt::format("one for each of the {} sources", config.sources.size())});
  }
  for (double weight : weights) {
    if (weight > 0) continue;
    throw InputError({.what = "bad value of 'data.weights'",
                      .where = where,
                      .got = fmt::format("{}", weight),
                      .expected = "positive numbers",
                      .hint = "leave a source out to read nothing of it"});
  }
}

}  // namespace

void list_fields(FieldList& fields, DataConfig& config) {
  fields.add(
      "sources", config.sources,
      "training text: .txt and .jsonl files (also .gz, .zst), folders, or texts made by the program: synthetic for "
      "stories, synthetic_copy and synthetic_mqar for letters to copy and pairs to recall");
  fields.add("weights", config.weights,
             "proportions in which tokens of the sources are read; empty: every document once per epoch");
  fields.add_enum<Records>("records", config.records,
                           {{"text", Records::text}, {"conversations", Records::conversations}},
                           "what the sources hold: texts, or JSONL of prompt and response, or of messages");
  fields.add("heldout", config.heldout, "text for the validation loss; empty: a part of the sources");
  fields.add("heldout_share", config.heldout_share, "the part that is held out, chosen by the hash of a document");
  fields.add("mask_documents", config.mask_documents, "documents of one row cannot see each other");
  fields.add_enum<LongConversations>("long_conversations", config.long_conversations,
                                     {{"drop", LongConversations::drop}, {"truncate", LongConversations::truncate}},
                                     "conversations longer than a row: left out, or read without their beginning");
  fields.add("tokenizer", config.tokenizer,
             "a tokenizer.json or a SentencePiece .model; empty: one is trained on the training text");
  fields.add("add_tokens", config.add_tokens, "special tokens that the tokenizer gets if it lacks them");
  fields.add("vocab_size", config.vocab_size, "entries of the tokenizer that is trained when none is given");
  fields.add("role_tokens", config.role_tokens,
             "a tokenizer that is trained gets the tokens of roles; with conversations it always does");
  fields.add("bos_token", config.bos_token, "token that opens a document; empty: found by its usual names");
  fields.add("eos_token", config.eos_token, "token that ends a document; empty: found by its usual names");
  fields.add("pad_token", config.pad_token, "token that fills rows; empty: found by its usual names, else EOS");
  fields.add("system_token", config.chat.system, "token that opens a system message");
  fields.add("user_token", config.chat.user, "token that opens a message of the user");
  fields.add("assistant_token", config.chat.assistant, "token that opens an answer");
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
  check_weights(config, where);
  if (!(config.heldout_share > 0 && config.heldout_share <= 0.5)) {
    throw InputError({.what = "bad value of 'data.heldout_share'",
                      .where = where,
                      .got = fmt::format("{}", config.heldout_share),
                      .expected = "more than 0, at most 0.5"});
  }
  positive(config.vocab_size, "vocab_size");
  positive(config.synthetic_bytes, "synthetic_bytes");
}

}  // namespace tandem
