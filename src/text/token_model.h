// The vocabulary and the rule that turns one word into ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

namespace tandem {

class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the ids of a word. `word` is not empty; it is valid UTF-8, or raw bytes when the pre-tokenizer ends in
  // bytes. Safe to call from several threads.
  virtual void encode_word(std::string_view word, std::vector<int32_t>& ids) const = 0;

  // A character in front of which a word may be cut, unless the one before it is the same, without any change to its
  // ids; empty when there is none. Short words are encoded faster, and can be remembered.
  virtual std::string_view boundary() const { return {}; }

  // Token text by id, as the file writes it; ids that the file leaves out have empty text.
  virtual const std::vector<std::string>& tokens() const = 0;
  // Number of tokens, without the holes.
  virtual int32_t token_count() const = 0;
  // -1 when it is not in the vocabulary.
  virtual int32_t find(std::string_view token) const = 0;
};

// The "model" of a tokenizer.json. `bytes` (BPE only): words are raw bytes that stand for characters of the byte-level
// alphabet.
std::unique_ptr<const TokenModel> read_model(const JsonNode& node, bool bytes);

}  // namespace tandem
