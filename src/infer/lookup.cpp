#include "infer/lookup.h"

#include <algorithm>

namespace tandem {
namespace {

// Where the latest earlier occurrence of the last `count` tokens ends; 0: there is none.
size_t end_of_match(std::span<const int32_t> history, size_t count) {
  std::span<const int32_t> wanted = history.last(count);
  for (size_t end = history.size() - 1; end >= count; --end) {
    if (history[end - 1] != wanted.back()) continue;
    if (std::equal(wanted.begin(), wanted.end(), history.begin() + static_cast<std::ptrdiff_t>(end - count))) {
      return end;
    }
  }
  return 0;
}

}  // namespace

void propose_by_lookup(std::span<const int32_t> history, const SpeculationOptions& options, int64_t most,
                       std::vector<int32_t>& draft) {
  draft.clear();
  if (most <= 0 || history.empty()) return;
  auto longest = std::min(options.longest, static_cast<int64_t>(history.size()) - 1);
  size_t at = 0;
  for (int64_t count = longest; count >= options.shortest && at == 0; --count) {
    at = end_of_match(history, static_cast<size_t>(count));
  }
  if (at == 0) return;
  for (int64_t i = 0; i < most; ++i, ++at) {
    draft.push_back(at < history.size() ? history[at] : draft[at - history.size()]);
  }
}

}  // namespace tandem
