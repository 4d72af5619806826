// Which models stand side by side in a comparison of speed and memory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "arch/config.h"

namespace tandem {

enum class ContenderRole {
  given,              // named by the user
  equal_parameters,   // derived from a given one: another architecture with as many parameters beside the embedding
  equal_decode_cost,  // the decoder-only model that has the given one's decoder layers and no others
};
std::string_view role_name(ContenderRole role);

struct Contender {
  std::string name;
  ContenderRole role = ContenderRole::given;
  int64_t family = 0;  // contenders that are compared with each other: those of one size
  ModelConfig config;
  std::filesystem::path folder;  // of its weights; empty: random ones
  std::string refusal;           // why there is no such model; empty: there is
};

// A given config and its rivals: every architecture that the config knows, the double decoder also with one projection
// of memory for all layers, the encoder-decoder also as a Mu, and the decoder-only model of equal decode cost. Each has
// as many parameters beside the embedding as the given one, within a half per cent or as near as MLPs of a multiple of
// 8 allow: the MLPs make up for what else differs. `max_seq_len` is that of all derived ones. An architecture that the
// sizes don't fit carries the reason.
std::vector<Contender> family_of(const Contender& given, int64_t max_seq_len);

// "double_decoder 8+4", "decoder 12", "mu 8+4"
std::string sizes_name(const ModelConfig& config);

// Parameters beside the embedding, without a model. InputError for sizes that do not fit.
int64_t non_embedding_parameters(const ModelConfig& config);

}  // namespace tandem
