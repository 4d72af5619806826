// Sets of characters, and their UTF-8 as sequences of byte ranges.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

inline constexpr uint32_t kLastCodePoint = 0x10FFFF;

struct CodeRange {
  uint32_t first;
  uint32_t last;  // inclusive

  bool operator==(const CodeRange&) const = default;
};

// In ascending order, without overlaps and without surrogates, which no text contains.
using CodeSet = std::vector<CodeRange>;

// The set of the characters in any ranges.
CodeSet make_code_set(std::vector<CodeRange> ranges);
// Every character that is not in the set.
CodeSet complement(const CodeSet& set);
CodeSet intersection(const CodeSet& a, const CodeSet& b);

struct ByteRange {
  uint8_t first;
  uint8_t last;  // inclusive

  auto operator<=>(const ByteRange&) const = default;
};

// Sequences of one to four byte ranges whose bytes are the UTF-8 of exactly the set's characters.
std::vector<std::vector<ByteRange>> utf8_sequences(const CodeSet& set);

}  // namespace tandem
