#include "infer/code_set.h"

#include <algorithm>
#include <string>

#include "text/unicode.h"

namespace tandem {
namespace {

constexpr CodeRange kSurrogates{0xD800, 0xDFFF};

// The UTF-8 of both ends has the same length, and all bytes behind the first that differs span all they can.
std::vector<ByteRange> byte_ranges(uint32_t first, uint32_t last) {
  std::string low, high;
  append_code_point(low, first);
  append_code_point(high, last);
  std::vector<ByteRange> sequence;
  for (size_t i = 0; i < low.size(); ++i) {
    sequence.push_back({static_cast<uint8_t>(low[i]), static_cast<uint8_t>(high[i])});
  }
  return sequence;
}

void add_sequences(uint32_t first, uint32_t last, std::vector<std::vector<ByteRange>>& out) {
  // Cut where the length of the UTF-8 changes.
  for (uint32_t longest : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first <= longest && longest < last) {
      add_sequences(first, longest, out);
      return add_sequences(longest + 1, last, out);
    }
  }
  // Cut until the ends differ only in bytes that span all of 80 to BF, and at most one byte before those.
  for (int bytes = 1; last > 0x7F && bytes < 4; ++bytes) {
    uint32_t mask = (1u << 6 * bytes) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      add_sequences(first, first | mask, out);
      return add_sequences((first | mask) + 1, last, out);
    }
    if ((last & mask) != mask) {
      add_sequences(first, (last & ~mask) - 1, out);
      return add_sequences(last & ~mask, last, out);
    }
  }
  out.push_back(byte_ranges(first, last));
}

}  // namespace

CodeSet make_code_set(std::vector<CodeRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](CodeRange a, CodeRange b) { return a.first < b.first; });
  CodeSet merged;
  for (CodeRange range : ranges) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return intersection(merged, {{0, kSurrogates.first - 1}, {kSurrogates.last + 1, kLastCodePoint}});
}

CodeSet complement(const CodeSet& set) {
  std::vector<CodeRange> gaps;
  uint32_t next = 0;
  for (CodeRange range : set) {
    if (range.first > next) gaps.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) gaps.push_back({next, kLastCodePoint});
  return make_code_set(gaps);
}

CodeSet intersection(const CodeSet& a, const CodeSet& b) {
  CodeSet both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    uint32_t first = std::max(a[i].first, b[j].first), last = std::min(a[i].last, b[j].last);
    if (first <= last) both.push_back({first, last});
    if (a[i].last < b[j].last) {
      ++i;
    } else {
      ++j;
    }
  }
  return both;
}

std::vector<std::vector<ByteRange>> utf8_sequences(const CodeSet& set) {
  std::vector<std::vector<ByteRange>> out;
  for (CodeRange range : set) add_sequences(range.first, range.last, out);
  return out;
}

}  // namespace tandem
