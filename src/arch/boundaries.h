// Where blocks open in the rows of a training batch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"

namespace tandem {

enum class BoundaryKind {
  random_uniform,  // the papers' default: 2..max_blocks-1 boundaries, uniform without replacement in 2..L-2
  logspace,        // the same with a count drawn from 1, 2, 4, ... max_blocks, and at least 2
  single_middle,   // one, at L / 2
  prompt_style,    // one, drawn from recorded lengths of prompts
  fixed,           // every `interval` tokens
  geometric,       // at each position with probability 1 / interval: block lengths are geometric with that mean
  mixed,           // every R tokens from a random first one, R log-uniform in 4..L and drawn anew for each batch
  by_length,       // as random_uniform, but drawn from L alone: what the authors' evaluation uses
};

struct BoundaryStrategy {
  BoundaryKind kind = BoundaryKind::random_uniform;
  int64_t interval = 0;  // of fixed and geometric, in tokens; 1 or more

  bool operator==(const BoundaryStrategy&) const = default;
  std::string text() const;  // "random_uniform", "fixed:16"
  // False when `text` is no strategy; then *this is unchanged.
  bool parse(std::string_view text);
  static std::string forms();  // what parse() takes, for messages
};

// Lengths of prompts and how often each was seen: what prompt_style draws from.
struct PromptLengths {
  std::vector<int32_t> lengths;
  std::vector<int64_t> counts;  // parallel to lengths, 1 or more

  // From "LENGTH" and "LENGTH:COUNT". InputError naming the entry.
  static PromptLengths parse(const std::vector<std::string>& entries, const std::string& where);
};

struct BoundaryRule {
  BoundaryStrategy strategy;
  int64_t max_blocks = 8;  // of random_uniform and logspace
  PromptLengths prompts;   // of prompt_style
};

// Ascending row positions in 1..length-1; the same for all rows of a batch. random_uniform and logspace take all of
// 2..length-2 when there are fewer than the count; prompt_style falls back to the middle when no recorded length lies
// in 2..length-2, as the authors' code does. by_length is that of the authors' evaluation up to lengths of 10,000: one
// set per length, the middle where there is no room for one.
std::vector<int32_t> draw_boundaries(const BoundaryRule& rule, int64_t length, Rng& rng);

}  // namespace tandem
