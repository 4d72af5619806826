// A tokenizer with more special tokens than it came with.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace tandem {

// Those of `tokens` that the tokenizer does not have, each once, in their order.
std::vector<std::string> missing_tokens(const Tokenizer& tokenizer, std::span<const std::string> tokens);

// The tokenizer with its missing `tokens` appended to the file's "added_tokens" as special tokens, under the ids that
// follow its vocabulary; nothing else of the file changes, so every text without these tokens has the same ids as
// before. InputError when the tokenizer was not read from a tokenizer.json, or for an empty token.
Tokenizer with_special_tokens(const Tokenizer& tokenizer, std::span<const std::string> tokens);

}  // namespace tandem
