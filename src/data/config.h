// What a run reads: the [data] table of a run config.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fields.h"
#include "data/holdout.h"
#include "data/packer.h"
#include "data/records.h"
#include "text/chat_template.h"

namespace tandem {

struct DataConfig {
  std::vector<std::string> sources{"synthetic"};
  // Proportions in which tokens of the sources are read, one number for each; empty: every document once per epoch.
  std::vector<double> weights;
  Records records = Records::text;
  std::vector<std::string> heldout;
  double heldout_share = kHeldOutShare;
  bool mask_documents = false;
  LongConversations long_conversations = LongConversations::drop;
  std::string tokenizer;
  std::vector<std::string> add_tokens;  // special tokens that the tokenizer gets if it lacks them
  int64_t vocab_size = 1024;
  bool role_tokens = false;
  std::string bos_token;
  std::string eos_token;
  std::string pad_token;
  ChatTokenNames chat;
  std::string cache;
  int64_t synthetic_bytes = 8'000'000;
  int64_t synthetic_seed = 1;
  int64_t seed = 1;
};

void list_fields(FieldList& fields, DataConfig& config);

// InputError for values that no run can use (no source, sizes that are not positive, weights that do not fit the
// sources).
void check(const DataConfig& config, const std::string& where);

}  // namespace tandem
