#include "arch/boundaries.h"

#include <algorithm>

namespace tandem {
namespace {

std::vector<int32_t> random_uniform(int64_t length, int64_t max_blocks, Rng& rng) {
  int64_t places = std::max<int64_t>(length - 3, 0);
  int64_t count = 2 + rng.below(static_cast<uint32_t>(max_blocks - 2));
  count = std::min(count, places);
  std::vector<int32_t> drawn;
  while (static_cast<int64_t>(drawn.size()) < count) {
    auto position = static_cast<int32_t>(2 + rng.below(static_cast<uint32_t>(places)));
    if (std::find(drawn.begin(), drawn.end(), position) == drawn.end()) drawn.push_back(position);
  }
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

}  // namespace

std::vector<int32_t> draw_boundaries(Boundaries strategy, int64_t length, int64_t max_blocks, Rng& rng) {
  switch (strategy) {
    case Boundaries::random_uniform: return random_uniform(length, max_blocks, rng);
  }
  return {};
}

}  // namespace tandem
