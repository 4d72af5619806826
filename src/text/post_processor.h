// Adds the tokens that a model expects around a text: beginning, end.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "text/json_node.h"

namespace tandem {

class PostProcessor {
 public:
  PostProcessor() = default;
  // The "post_processor" of a tokenizer.json: null, or an object with a type. InputError for an unknown type and for
  // ids outside 0..vocab_size-1.
  static PostProcessor read(const JsonNode& node, int32_t vocab_size);

  std::vector<int32_t> apply(std::vector<int32_t> ids) const;

 private:
  void add(const JsonNode& node, int32_t vocab_size);
  void add_template(const JsonNode& node, int32_t vocab_size);

  // Ids put before and behind the text, by each step in turn.
  struct Step {
    std::vector<int32_t> before, behind;
  };
  std::vector<Step> steps_;
};

}  // namespace tandem
