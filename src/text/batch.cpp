#include "text/batch.h"

namespace tandem {

std::vector<TokenRange> Batch::texts() const {
  std::vector<TokenRange> texts;
  texts.reserve(static_cast<size_t>(rows));  // at least
  for (int64_t row = 0; row < rows; ++row) {
    int64_t begin = row * length, end = begin + length;
    if (!isolated) {
      texts.push_back({begin, end});
      continue;
    }
    for (int64_t t = begin + 1; t <= end; ++t) {
      if (t < end && segments[static_cast<size_t>(t)] == segments[static_cast<size_t>(begin)]) continue;
      texts.push_back({begin, t});
      begin = t;
    }
  }
  return texts;
}

bool Batch::is_padding(const TokenRange& text) const {
  return !roles.empty() && text.size() > 0 && roles[static_cast<size_t>(text.begin)] == Role::padding;
}

}  // namespace tandem
