// The tokens of a vocabulary as a tree of their bytes: which of them a matcher allows is found without looking at each.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "infer/matcher.h"

namespace tandem {

class TokenTrie {
 public:
  // The bytes of each token, by id; a token without bytes is never allowed.
  explicit TokenTrie(const std::vector<std::string>& tokens);

  // Sets the bits of the ids whose bytes may come in `state`. `bits` holds one bit per id, zero before.
  void allow(Matcher& matcher, Matcher::State state, std::span<uint64_t> bits) const;

 private:
  // In preorder: behind a node come those below it.
  struct Node {
    int32_t end;          // behind the last node below
    int32_t first_token;  // in tokens_; up to the first of the next node
    int32_t depth;        // of the root's children: 0
    uint8_t byte;
  };

  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;  // ids by node
  size_t longest_ = 0;
};

}  // namespace tandem
