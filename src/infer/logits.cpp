#include "infer/logits.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace tandem {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

bool before(const ScoredId& a, const ScoredId& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

// 1/0! to 1/13!: on [-ln 2 / 2, ln 2 / 2] the rest of the series is below 2^-57.
constexpr auto kInverseFactorials = [] {
  std::array<double, 14> values{};
  double factorial = 1;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) factorial *= static_cast<double>(i);
    values[i] = 1 / factorial;
  }
  return values;
}();

}  // namespace

// Lanes that do not wait for each other, and no branch but one per stretch: most stretches hold nothing larger.
int32_t largest_logit(std::span<const float> logits) {
  constexpr size_t kLanes = 16, kStretch = 512;
  float largest = kImpossible;
  size_t begin = 0;  // of the first stretch that holds it
  for (size_t first = 0; first < logits.size(); first += kStretch) {
    std::span<const float> stretch = logits.subspan(first, std::min(kStretch, logits.size() - first));
    std::array<float, kLanes> lanes;
    lanes.fill(kImpossible);
    size_t v = 0;
    for (; v + kLanes <= stretch.size(); v += kLanes) {
      // False for NaN.
      for (size_t i = 0; i < kLanes; ++i) lanes[i] = stretch[v + i] > lanes[i] ? stretch[v + i] : lanes[i];
    }
    for (; v < stretch.size(); ++v) lanes[0] = stretch[v] > lanes[0] ? stretch[v] : lanes[0];
    float own = *std::max_element(lanes.begin(), lanes.end());
    if (own > largest) {
      largest = own;
      begin = first;
    }
  }
  auto found = std::find(logits.begin() + static_cast<std::ptrdiff_t>(begin), logits.end(), largest);
  return found == logits.end() ? -1 : static_cast<int32_t>(found - logits.begin());
}

void select_largest(std::span<const float> logits, int64_t k, std::vector<ScoredId>& out) {
  out.clear();
  auto most = static_cast<size_t>(std::min(k, static_cast<int64_t>(logits.size())));
  if (most == 0) return;
  out.reserve(most);
  // The heap's front is the worst of those kept. Ids come in ascending order, so that one with the logit of the worst
  // is behind it and needs no look; most logits cost one comparison.
  float worst = kImpossible;
  for (size_t v = 0; v < logits.size(); ++v) {
    if (!(logits[v] > worst)) continue;
    if (out.size() == most) {
      std::pop_heap(out.begin(), out.end(), before);
      out.pop_back();
    }
    out.push_back({logits[v], static_cast<int32_t>(v)});
    std::push_heap(out.begin(), out.end(), before);
    if (out.size() == most) worst = out.front().logit;
  }
  std::sort_heap(out.begin(), out.end(), before);
}

double portable_exp(double x) {
  constexpr double kSmallest = -708.39;  // e to it is the last normal number
  if (!(x > kSmallest)) return 0;
  // x = n ln 2 + r. The high part of ln 2 has so many zeros that its product with n is exact. The shift rounds to an
  // integer.
  constexpr double kShift = 0x1.8p52, kLog2e = 1.44269504088896338700;
  constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  double n = (x * kLog2e + kShift) - kShift;
  double r = (x - n * kLn2High) - n * kLn2Low;
  double sum = kInverseFactorials.back();
  for (size_t i = kInverseFactorials.size() - 1; i-- > 0;) sum = sum * r + kInverseFactorials[i];
  auto exponent = static_cast<uint64_t>(static_cast<int64_t>(n) + 1023);
  return sum * std::bit_cast<double>(exponent << 52);
}

double log_sum_exp(std::span<const float> logits) {
  int32_t best = largest_logit(logits);
  if (best < 0) return -std::numeric_limits<double>::infinity();
  double largest = static_cast<double>(logits[static_cast<size_t>(best)]);
  if (std::isinf(largest)) return largest;
  double total = 0;
  for (float logit : logits) total += portable_exp(static_cast<double>(logit) - largest);
  return largest + std::log(total);
}

double log_probability(std::span<const float> logits, int32_t id) {
  return static_cast<double>(logits[static_cast<size_t>(id)]) - log_sum_exp(logits);
}

}  // namespace tandem
