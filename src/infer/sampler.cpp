#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace tandem {
namespace {

// Other users of a request's seed draw from other streams.
constexpr uint64_t kSamplingStream = 0x53414D50;

// Changed by more than this, a logit may no longer be a finite float32.
constexpr double kLargestChange = 1e30;

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

void require(bool holds, const char* field, double got, const char* expected, const std::string& where) {
  if (holds) return;
  throw InputError({.what = fmt::format("bad value of '{}'", field),
                    .where = where,
                    .got = fmt::format("{}", got),
                    .expected = expected});
}

void require_id(int32_t id, const char* field, int64_t vocab_size, const std::string& where) {
  if (id >= 0 && id < vocab_size) return;
  throw InputError({.what = fmt::format("token of '{}' outside the vocabulary", field),
                    .where = where,
                    .got = fmt::format("{}", id),
                    .expected = fmt::format("0..{}", vocab_size - 1)});
}

bool test_bit(const std::vector<uint64_t>& bits, size_t at) { return bits[at / 64] >> at % 64 & 1; }
void set_bit(std::vector<uint64_t>& bits, size_t at) { bits[at / 64] |= uint64_t{1} << at % 64; }
void clear_bit(std::vector<uint64_t>& bits, size_t at) { bits[at / 64] &= ~(uint64_t{1} << at % 64); }

// Step 1 as one bit per id. The ids are inside the vocabulary.
std::vector<uint64_t> possible_tokens(const SamplingOptions& options, size_t vocab_size) {
  bool all = options.allowed.empty();
  std::vector<uint64_t> bits((vocab_size + 63) / 64, all ? ~uint64_t{0} : 0);
  for (int32_t id : options.allowed) set_bit(bits, static_cast<size_t>(id));
  for (int32_t id : options.banned) clear_bit(bits, static_cast<size_t>(id));
  return bits;
}

// InputError when a forced token is excluded, or when the constraint admits none of it in its place.
void check_forced(const SamplingOptions& options, const std::vector<uint64_t>& possible, const std::string& where) {
  ConstraintState state(options.constraint);
  for (int32_t id : options.forced) {
    auto at = static_cast<size_t>(id);
    bool admitted = test_bit(possible, at);
    if (admitted && state.active()) {
      std::span<const uint64_t> mask = state.mask();
      admitted = at / 64 < mask.size() && (mask[at / 64] >> at % 64 & 1) != 0;
      if (admitted) state.accept(id);
    }
    if (admitted) continue;
    throw InputError({.what = "a forced token is not possible",
                      .where = where,
                      .got = fmt::format("{}", id),
                      .hint = "'allowed', 'banned' or the constraint exclude it"});
  }
}

}  // namespace

void SamplingOptions::check(const std::string& where) const {
  // Comparisons with NaN are false, so that NaN is refused as well.
  require(repetition_penalty >= 1 / kLargestChange && repetition_penalty <= kLargestChange, "repetition_penalty",
          repetition_penalty, "a number above 0", where);
  require(std::abs(presence_penalty) <= kLargestChange, "presence_penalty", presence_penalty, "a number", where);
  require(std::abs(frequency_penalty) <= kLargestChange, "frequency_penalty", frequency_penalty, "a number", where);
  for (const TokenBias& bias : logit_bias) {
    require(std::abs(bias.value) <= kLargestChange, "logit_bias", bias.value, "numbers", where);
  }
  require(temperature >= 0 && std::isfinite(temperature), "temperature", temperature, "a number of at least 0", where);
  require(top_k >= 0, "top_k", static_cast<double>(top_k), "0 (all) or more", where);
  require(top_p > 0 && top_p <= 1, "top_p", top_p, "a number above 0 and up to 1", where);
  require(min_p >= 0 && min_p <= 1, "min_p", min_p, "a number in 0..1", where);
  require(typical > 0 && typical <= 1, "typical", typical, "a number above 0 and up to 1", where);
  require(top_log_probabilities >= 0, "top_log_probabilities", static_cast<double>(top_log_probabilities),
          "0 (none) or more", where);
}

void SamplingOptions::check(const std::string& where, int64_t vocab_size) const {
  check(where);
  for (int32_t id : forced) require_id(id, "forced", vocab_size, where);
  for (int32_t id : allowed) require_id(id, "allowed", vocab_size, where);
  for (int32_t id : banned) require_id(id, "banned", vocab_size, where);
  for (const TokenBias& bias : logit_bias) require_id(bias.id, "logit_bias", vocab_size, where);
  auto bits = possible_tokens(*this, static_cast<size_t>(vocab_size));
  check_forced(*this, bits, where);
  for (size_t id = 0; id < static_cast<size_t>(vocab_size); ++id) {
    if (test_bit(bits, id)) return;
  }
  throw InputError({.what = "no token is possible", .where = where, .hint = "'banned' holds all that is allowed"});
}

Sampler::Sampler(const SamplingOptions& options)
    : options_(options), rng_(options.seed, kSamplingStream), constraint_(options.constraint) {
  options.check("sampling");
}

bool Sampler::changes_logits() const {
  return !possible_.empty() || constraint_.active() || options_.repetition_penalty != 1 ||
         options_.presence_penalty != 0 || options_.frequency_penalty != 0 || !options_.logit_bias.empty();
}

// Everything that next() will need for a vocabulary of this size.
void Sampler::prepare(size_t vocab_size) {
  if (vocab_size == vocab_size_) return;
  options_.check("sampling", static_cast<int64_t>(vocab_size));
  vocab_size_ = vocab_size;
  if (!options_.allowed.empty() || !options_.banned.empty()) possible_ = possible_tokens(options_, vocab_size);
  if (changes_logits()) logits_.resize(vocab_size);
  counts_.assign(vocab_size, 0);
  auto most = [&](int64_t count) { return static_cast<size_t>(std::min(count, static_cast<int64_t>(vocab_size))); };
  if (options_.temperature > 0) {
    candidates_.reserve(options_.top_k > 0 ? most(options_.top_k) : vocab_size);
  }
  largest_.reserve(most(std::max(options_.top_k, options_.top_log_probabilities)));
  top_.reserve(most(options_.top_log_probabilities));
}

void Sampler::mask() {
  auto keep = [&](std::span<const uint64_t> bits) {
    for (size_t v = 0; v < logits_.size(); ++v) {
      bool possible = v / 64 < bits.size() && (bits[v / 64] >> v % 64 & 1) != 0;
      if (!possible) logits_[v] = kImpossible;
    }
  };
  if (!possible_.empty()) keep(possible_);
  if (constraint_.active()) keep(constraint_.mask());
}

void Sampler::penalise_repetition(std::span<const int32_t> history) {
  if (options_.repetition_penalty == 1) return;
  auto penalty = static_cast<float>(options_.repetition_penalty);
  for (int32_t id : history) {
    auto v = static_cast<size_t>(id);
    // Once per distinct id, however often it occurs.
    if (counts_[v]++ > 0) continue;
    logits_[v] = logits_[v] > 0 ? logits_[v] / penalty : logits_[v] * penalty;
  }
  for (int32_t id : history) counts_[static_cast<size_t>(id)] = 0;
}

void Sampler::penalise_counts(std::span<const int32_t> written) {
  if (options_.presence_penalty == 0 && options_.frequency_penalty == 0) return;
  for (int32_t id : written) ++counts_[static_cast<size_t>(id)];
  for (int32_t id : written) {
    auto v = static_cast<size_t>(id);
    if (counts_[v] == 0) continue;  // seen to already
    logits_[v] -= static_cast<float>(options_.frequency_penalty * counts_[v] + options_.presence_penalty);
    counts_[v] = 0;
  }
}

// Steps 1 to 4 on logits_.
void Sampler::adjust(std::span<const int32_t> history, size_t prompt_tokens) {
  auto outside = [&](int32_t id) { return id < 0 || static_cast<size_t>(id) >= vocab_size_; };
  auto bad = std::find_if(history.begin(), history.end(), outside);
  if (bad != history.end()) require_id(*bad, "history", static_cast<int64_t>(vocab_size_), "sampling");
  mask();
  penalise_repetition(history);
  penalise_counts(history.subspan(std::min(prompt_tokens, history.size())));
  for (const TokenBias& bias : options_.logit_bias) {
    logits_[static_cast<size_t>(bias.id)] += static_cast<float>(bias.value);
  }
}

void Sampler::measure(std::span<const float> logits) {
  log_sum_ = log_sum_exp(logits);
  top_.clear();
  if (options_.top_log_probabilities == 0) return;
  select_largest(logits, options_.top_log_probabilities, largest_);
  for (const ScoredId& s : largest_) top_.push_back({s.id, static_cast<double>(s.logit) - log_sum_});
}

double Sampler::total_weight() const {
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  return total;
}

// Steps 5 and 6. Tokens of probability zero are no candidates.
void Sampler::collect(std::span<const float> logits, double largest) {
  candidates_.clear();
  auto add = [&](float logit, int32_t id) {
    double weight = portable_exp((static_cast<double>(logit) - largest) / options_.temperature);
    if (weight > 0) candidates_.push_back({weight, 0, logit, id});
  };
  by_id_ = options_.top_k == 0;
  if (by_id_) {
    for (size_t v = 0; v < logits.size(); ++v) {
      if (!std::isnan(logits[v])) add(logits[v], static_cast<int32_t>(v));
    }
  } else {
    select_largest(logits, options_.top_k, largest_);
    for (const ScoredId& s : largest_) add(s.logit, s.id);
  }
}

// The fewest candidates, by key and id, that together have `share` of the total weight; at least one. Most often few
// are enough: a part that grows eightfold is sorted until it is.
void Sampler::keep_mass(double share, double total) {
  auto before = [](const Candidate& a, const Candidate& b) { return a.key != b.key ? a.key < b.key : a.id < b.id; };
  size_t sorted = 0, kept = 0;
  double sum = 0;
  while (kept < candidates_.size() && (kept == 0 || sum < share * total)) {
    if (kept == sorted) {
      size_t end = std::min(std::max<size_t>(64, 8 * sorted), candidates_.size());
      auto at = [&](size_t i) { return candidates_.begin() + static_cast<std::ptrdiff_t>(i); };
      if (end < candidates_.size()) std::nth_element(at(sorted), at(end), candidates_.end(), before);
      std::sort(at(sorted), at(end), before);
      sorted = end;
    }
    sum += candidates_[kept++].weight;
  }
  candidates_.resize(kept);
  by_id_ = false;
}

void Sampler::keep_top_p() {
  if (options_.top_p == 1) return;
  for (Candidate& c : candidates_) c.key = -static_cast<double>(c.logit);
  keep_mass(options_.top_p, total_weight());
}

void Sampler::keep_min_p() {
  if (options_.min_p == 0) return;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < options_.min_p; });
}

// With x = logit / temperature the surprise of a token is log(total) - x and the entropy log(total) - mean(x): the
// logarithm cancels in their distance, which is therefore the same on every machine.
void Sampler::keep_typical() {
  if (options_.typical == 1) return;
  double total = total_weight(), mean = 0;
  for (const Candidate& c : candidates_)
    mean += c.weight / total * (static_cast<double>(c.logit) / options_.temperature);
  for (Candidate& c : candidates_) c.key = std::abs(mean - static_cast<double>(c.logit) / options_.temperature);
  keep_mass(options_.typical, total);
}

int32_t Sampler::pick() {
  if (!by_id_) {
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  }
  double left = rng_.uniform() * total_weight();
  for (const Candidate& c : candidates_) {
    left -= c.weight;
    if (left < 0) return c.id;
  }
  // Rounding may leave a rest; the most probable candidate takes it.
  return std::max_element(candidates_.begin(), candidates_.end(),
                          [](const Candidate& a, const Candidate& b) { return a.weight < b.weight; })
      ->id;
}

int32_t Sampler::draw(std::span<const float> logits, double largest) {
  collect(logits, largest);
  keep_top_p();
  keep_min_p();
  keep_typical();
  return pick();
}

void Sampler::check_finite(std::span<const float> logits, int32_t best) const {
  if (best >= 0 && !std::isinf(logits[static_cast<size_t>(best)])) return;
  throw InputError({.what = "the model's logits are not finite",
                    .got = best < 0 ? "NaN" : "infinity",
                    .hint = "are its weights damaged?"});
}

// Step 0; -1 behind the forced tokens.
int32_t Sampler::forced(std::span<const int32_t> history, size_t prompt_tokens) const {
  size_t written = history.size() - std::min(prompt_tokens, history.size());
  return written < options_.forced.size() ? options_.forced[written] : -1;
}

bool Sampler::scores_never_positive() const {
  return options_.presence_penalty >= 0 && options_.frequency_penalty >= 0 &&
         std::all_of(options_.logit_bias.begin(), options_.logit_bias.end(),
                     [](const TokenBias& bias) { return bias.value <= 0; });
}

std::span<const float> Sampler::scores(std::span<const float> logits, std::span<const int32_t> history,
                                       size_t prompt_tokens, const ConstraintState& constraint) {
  prepare(logits.size());
  check_finite(logits, largest_logit(logits));
  measure(logits);
  logits_.resize(logits.size());
  for (size_t v = 0; v < logits.size(); ++v) {
    logits_[v] = static_cast<float>(static_cast<double>(logits[v]) - log_sum_);
  }
  if (int32_t id = forced(history, prompt_tokens); id >= 0) {
    float kept = logits_[static_cast<size_t>(id)];
    std::fill(logits_.begin(), logits_.end(), kImpossible);
    logits_[static_cast<size_t>(id)] = kept;
    return logits_;
  }
  constraint_ = constraint;
  adjust(history, prompt_tokens);
  return logits_;
}

int32_t Sampler::next(std::span<const float> logits, std::span<const int32_t> history, size_t prompt_tokens) {
  prepare(logits.size());
  int32_t best = largest_logit(logits);
  check_finite(logits, best);
  if (measured()) measure(logits);
  if (int32_t id = forced(history, prompt_tokens); id >= 0) return take(logits, id);
  std::span<const float> adjusted = logits;
  if (changes_logits()) {
    std::copy(logits.begin(), logits.end(), logits_.begin());
    adjust(history, prompt_tokens);
    adjusted = logits_;
    best = largest_logit(adjusted);
  }
  if (best < 0 || std::isinf(adjusted[static_cast<size_t>(best)])) {
    throw InputError({.what = "no token is possible",
                      .where = "sampling",
                      .hint = constraint_.active() ? "can the tokenizer write what the constraint asks for?"
                                                   : "too many are excluded"});
  }
  return take(logits, options_.temperature == 0 ? best : draw(adjusted, adjusted[static_cast<size_t>(best)]));
}

int32_t Sampler::take(std::span<const float> logits, int32_t id) {
  if (constraint_.active()) constraint_.accept(id);
  if (measured()) log_probability_ = static_cast<double>(logits[static_cast<size_t>(id)]) - log_sum_;
  return id;
}

}  // namespace tandem
