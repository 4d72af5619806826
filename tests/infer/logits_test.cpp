#include "infer/logits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"

namespace tandem {
namespace {

int32_t first_largest(const std::vector<float>& logits) {
  int32_t best = -1;
  for (size_t v = 0; v < logits.size(); ++v) {
    if (std::isnan(logits[v])) continue;
    if (best < 0 || logits[v] > logits[static_cast<size_t>(best)]) best = static_cast<int32_t>(v);
  }
  return best;
}

TEST(Logits, TheFirstOfTheLargest) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  Rng rng(7, 0);
  for (size_t size = 0; size < 1700; size += 1 + size / 9) {
    for (uint32_t levels : {1u, 3u, 1000000u}) {
      for (uint32_t nan_share : {0u, 2u, 1u}) {  // none, every second, all
        std::vector<float> logits(size);
        for (float& logit : logits) {
          logit = static_cast<float>(rng.below(levels)) - 5;
          if (levels == 3 && logit == -5) logit = -kInfinity;
          if (nan_share > 0 && rng.below(nan_share) == 0) logit = kNaN;
        }
        EXPECT_EQ(largest_logit(logits), first_largest(logits)) << size << " " << levels << " " << nan_share;
        for (float special : {-kInfinity, kInfinity}) {
          if (size == 0) continue;
          for (float& logit : logits) logit = std::isnan(logit) ? kNaN : -kInfinity;
          logits[rng.below(static_cast<uint32_t>(size))] = special;
          EXPECT_EQ(largest_logit(logits), first_largest(logits)) << size << " " << special;
        }
      }
    }
  }
}

}  // namespace
}  // namespace tandem
