#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace tandem {
namespace {

// Other users of a request's seed draw from other streams.
constexpr uint64_t kSamplingStream = 0x53414D50;

void require(bool holds, const char* field, double got, const char* expected, const std::string& where) {
  if (holds) return;
  throw InputError({.what = fmt::format("bad value of '{}'", field),
                    .where = where,
                    .got = fmt::format("{}", got),
                    .expected = expected});
}

}  // namespace

void SamplingOptions::check(const std::string& where) const {
  // Comparisons with NaN are false, so that NaN is refused as well.
  require(repetition_penalty > 0 && std::isfinite(repetition_penalty), "repetition_penalty", repetition_penalty,
          "a number above 0", where);
  require(temperature >= 0 && std::isfinite(temperature), "temperature", temperature, "a number of at least 0", where);
  require(top_k >= 0, "top_k", static_cast<double>(top_k), "0 (all) or more", where);
  require(top_p > 0 && top_p <= 1, "top_p", top_p, "a number above 0 and up to 1", where);
  require(min_p >= 0 && min_p <= 1, "min_p", min_p, "a number in 0..1", where);
}

int32_t largest_logit(std::span<const float> logits) {
  int32_t best = -1;
  for (size_t v = 0; v < logits.size(); ++v) {
    if (std::isnan(logits[v])) continue;
    if (best < 0 || logits[v] > logits[static_cast<size_t>(best)]) best = static_cast<int32_t>(v);
  }
  return best;
}

double log_probability(std::span<const float> logits, int32_t id) {
  double largest = -std::numeric_limits<double>::infinity();
  for (float logit : logits) largest = std::max(largest, static_cast<double>(logit));
  double total = 0;
  for (float logit : logits) total += std::exp(static_cast<double>(logit) - largest);
  return static_cast<double>(logits[static_cast<size_t>(id)]) - largest - std::log(total);
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), rng_(options.seed, kSamplingStream) {
  options.check("sampling");
}

void Sampler::penalise(std::span<float> logits, std::span<const int32_t> history) const {
  if (options_.repetition_penalty == 1) return;
  // Once per distinct id, however often it occurs.
  std::vector<int32_t> seen(history.begin(), history.end());
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  auto penalty = static_cast<float>(options_.repetition_penalty);
  for (int32_t id : seen) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

// Probability relative to the most probable token, 0..1.
double Sampler::weight(const Candidate& candidate, double largest) const {
  return std::exp((static_cast<double>(candidate.logit) - largest) / options_.temperature);
}

void Sampler::keep_top_k() {
  auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  auto k = static_cast<size_t>(options_.top_k);
  if (options_.top_k > 0 && k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(), before);
    candidates_.resize(k);
  } else if (options_.top_p == 1) {
    return;  // Nobody needs an order: the draw goes through the ids.
  }
  std::sort(candidates_.begin(), candidates_.end(), before);
}

void Sampler::keep_top_p(double largest) {
  if (options_.top_p == 1) return;
  double total = 0, sum = 0;
  for (const Candidate& c : candidates_) total += weight(c, largest);
  size_t kept = 0;
  while (kept < candidates_.size() && sum < options_.top_p * total) sum += weight(candidates_[kept++], largest);
  candidates_.resize(std::max<size_t>(kept, 1));
}

void Sampler::keep_min_p(double largest) {
  if (options_.min_p == 0) return;
  std::erase_if(candidates_, [&](const Candidate& c) { return weight(c, largest) < options_.min_p; });
}

int32_t Sampler::draw(double largest) {
  double total = 0;
  for (const Candidate& c : candidates_) total += weight(c, largest);
  double left = rng_.uniform() * total;
  for (const Candidate& c : candidates_) {
    left -= weight(c, largest);
    if (left < 0) return c.id;
  }
  // Rounding may leave a rest; the most probable candidate that is certain to be possible takes it.
  return std::max_element(candidates_.begin(), candidates_.end(),
                          [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; })
      ->id;
}

int32_t Sampler::next(std::span<float> logits, std::span<const int32_t> history) {
  penalise(logits, history);
  int32_t best = largest_logit(logits);
  if (best < 0 || std::isinf(logits[static_cast<size_t>(best)])) {
    throw InputError({.what = "the model's logits are not finite",
                      .got = best < 0 ? "NaN" : "infinity",
                      .hint = "are its weights damaged?"});
  }
  if (options_.temperature == 0) return best;
  double largest = logits[static_cast<size_t>(best)];
  candidates_.clear();
  for (size_t v = 0; v < logits.size(); ++v) {
    if (!std::isnan(logits[v])) candidates_.push_back({logits[v], static_cast<int32_t>(v)});
  }
  keep_top_k();
  keep_top_p(largest);
  keep_min_p(largest);
  return draw(largest);
}

}  // namespace tandem
