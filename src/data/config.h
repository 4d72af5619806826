// What a run reads: the [data] table of a run config.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fields.h"

namespace tandem {

struct DataConfig {
  std::vector<std::string> sources{"synthetic"};
  std::vector<std::string> heldout;
  std::string tokenizer;
  int64_t vocab_size = 1024;
  std::string bos_token;
  std::string eos_token;
  std::string cache;
  int64_t synthetic_bytes = 8'000'000;
  int64_t synthetic_seed = 1;
  int64_t seed = 1;
};

void list_fields(FieldList& fields, DataConfig& config);

// InputError for values that no run can use (no source, sizes that are not positive).
void check(const DataConfig& config, const std::string& where);

}  // namespace tandem
