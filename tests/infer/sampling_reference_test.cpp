// The sampler against a plain computation: everything sorted, in long double, one step of the chain after another.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "infer/allocations.h"
#include "infer/sampler.h"

namespace tandem::test {
namespace {

constexpr uint64_t kStream = 0x53414D50;  // of the sampler's random numbers
constexpr long double kNear = 1e-9L;      // a decision nearer than this to its border proves nothing

struct Token {
  long double logit;
  int32_t id;
  long double probability = 0;
};

void normalise(std::vector<Token>& tokens) {
  long double largest = -INFINITY, total = 0;
  for (const Token& t : tokens) largest = std::max(largest, t.logit);
  for (Token& t : tokens) total += t.probability = std::exp(t.logit - largest);
  for (Token& t : tokens) t.probability /= total;
}

// The fewest in the given order that reach the share; false when the decision is too near.
bool keep(std::vector<Token>& tokens, long double share) {
  long double sum = 0;
  size_t kept = 0;
  while (kept < tokens.size() && (kept == 0 || sum < share)) {
    sum += tokens[kept++].probability;
    if (std::abs(sum - share) < kNear) return false;
  }
  tokens.resize(kept);
  normalise(tokens);
  return true;
}

void by_probability(std::vector<Token>& tokens) {
  std::sort(tokens.begin(), tokens.end(),
            [](const Token& a, const Token& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; });
}

bool keep_typical(std::vector<Token>& tokens, long double share) {
  long double entropy = 0;
  for (const Token& t : tokens) entropy -= t.probability > 0 ? t.probability * std::log(t.probability) : 0;
  auto distance = [&](const Token& t) { return std::abs(-std::log(t.probability) - entropy); };
  std::sort(tokens.begin(), tokens.end(), [&](const Token& a, const Token& b) {
    // Equal logits are equally far; ids decide.
    return a.logit != b.logit ? distance(a) < distance(b) : a.id < b.id;
  });
  for (size_t i = 1; i < tokens.size(); ++i) {
    if (tokens[i].logit != tokens[i - 1].logit && distance(tokens[i]) - distance(tokens[i - 1]) < kNear) return false;
  }
  return keep(tokens, share);
}

std::vector<Token> adjusted(const SamplingOptions& options, const std::vector<float>& logits,
                            const std::vector<int32_t>& history, size_t prompt) {
  std::map<int32_t, int> all, written;
  for (size_t i = 0; i < history.size(); ++i) {
    ++all[history[i]];
    if (i >= prompt) ++written[history[i]];
  }
  std::vector<Token> tokens;
  for (size_t v = 0; v < logits.size(); ++v) {
    auto id = static_cast<int32_t>(v);
    auto holds = [&](const std::vector<int32_t>& ids) { return std::find(ids.begin(), ids.end(), id) != ids.end(); };
    if (holds(options.banned) || (!options.allowed.empty() && !holds(options.allowed))) continue;
    float logit = logits[v];  // steps 2 to 4 are defined in float32
    auto penalty = static_cast<float>(options.repetition_penalty);
    if (all.contains(id)) logit = logit > 0 ? logit / penalty : logit * penalty;
    if (written.contains(id)) {
      logit -= static_cast<float>(options.frequency_penalty * written[id] + options.presence_penalty);
    }
    for (const TokenBias& bias : options.logit_bias) logit += bias.id == id ? static_cast<float>(bias.value) : 0.0f;
    tokens.push_back({logit, id});
  }
  return tokens;
}

// The id that the n-th draw gives; nothing when a decision is too near to its border.
std::optional<int32_t> expected(const SamplingOptions& options, std::vector<Token> tokens, long double uniform) {
  by_probability(tokens);
  if (options.temperature == 0) return tokens.front().id;
  for (Token& t : tokens) t.logit /= static_cast<long double>(options.temperature);
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < tokens.size()) {
    tokens.resize(static_cast<size_t>(options.top_k));
  }
  normalise(tokens);
  if (options.top_p < 1 && !keep(tokens, options.top_p)) return {};
  for (const Token& t : tokens) {
    if (std::abs(t.probability / tokens.front().probability - options.min_p) < kNear) return {};
  }
  std::erase_if(
      tokens, [&, best = tokens.front().probability](const Token& t) { return t.probability < options.min_p * best; });
  normalise(tokens);
  if (options.typical < 1 && !keep_typical(tokens, options.typical)) return {};
  std::sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) { return a.id < b.id; });
  for (const Token& t : tokens) {
    uniform -= t.probability;
    if (std::abs(uniform) < kNear) return {};
    if (uniform < 0) return t.id;
  }
  return {};
}

struct Case {
  SamplingOptions options;
  std::vector<float> logits;
  std::vector<int32_t> history;
  size_t prompt = 0;
};

Case random_case(Rng& rng) {
  Case c;
  uint32_t size = 1 + rng.below(rng.below(4) == 0 ? 600 : 12);
  // Rounded, so that there are ties.
  for (uint32_t i = 0; i < size; ++i) c.logits.push_back(std::round(static_cast<float>(rng.normal() * 8)) / 4);
  auto sometimes = [&](auto& field, auto value) {
    if (rng.below(2) == 0) field = static_cast<std::remove_reference_t<decltype(field)>>(value);
  };
  sometimes(c.options.repetition_penalty, 0.5 + rng.uniform());
  sometimes(c.options.presence_penalty, rng.normal());
  sometimes(c.options.frequency_penalty, rng.normal());
  if (rng.below(3) > 0) c.options.temperature = 0.2 + 2 * rng.uniform();
  sometimes(c.options.top_k, rng.below(2 * size));
  sometimes(c.options.top_p, 0.01 + 0.98 * rng.uniform());
  sometimes(c.options.min_p, 0.3 * rng.uniform());
  sometimes(c.options.typical, 0.01 + 0.98 * rng.uniform());
  c.options.seed = rng.next();
  auto some_ids = [&](std::vector<int32_t>& ids, uint32_t most) {
    for (uint32_t i = rng.below(most + 1); i > 0; --i) ids.push_back(static_cast<int32_t>(rng.below(size)));
  };
  some_ids(c.history, 10);
  c.prompt = rng.below(static_cast<uint32_t>(c.history.size()) + 1);
  if (rng.below(4) == 0) some_ids(c.options.allowed, 5);
  if (rng.below(4) == 0) some_ids(c.options.banned, 3);
  for (uint32_t i = rng.below(3); i > 0; --i) {
    c.options.logit_bias.push_back({static_cast<int32_t>(rng.below(size)), rng.normal()});
  }
  return c;
}

TEST(SamplingReference, TheChainIsThatOfThePlainComputation) {
  Rng rng(11, 0);
  int compared = 0;
  for (int round = 0; round < 20000; ++round) {
    Case c = random_case(rng);
    std::vector<Token> tokens = adjusted(c.options, c.logits, c.history, c.prompt);
    if (tokens.empty()) continue;
    Sampler sampler(c.options);
    Rng draws(c.options.seed, kStream);
    for (int n = 0; n < 3; ++n) {
      std::optional<int32_t> id = expected(c.options, tokens, draws.uniform());
      int32_t ours = sampler.next(c.logits, c.history, c.prompt);
      if (!id) continue;
      ASSERT_EQ(ours, *id) << "round " << round << " draw " << n;
      ++compared;
    }
  }
  EXPECT_GT(compared, 40000);
}

TEST(SamplingReference, LogProbabilitiesAreThoseOfTheModel) {
  Rng rng(12, 0);
  for (int round = 0; round < 500; ++round) {
    Case c = random_case(rng);
    c.options.allowed.clear();
    c.options.banned.clear();
    c.options.top_log_probabilities = rng.below(20);
    c.options.log_probabilities = true;
    std::vector<Token> tokens;
    for (size_t v = 0; v < c.logits.size(); ++v) tokens.push_back({c.logits[v], static_cast<int32_t>(v)});
    by_probability(tokens);
    normalise(tokens);
    Sampler sampler(c.options);
    int32_t id = sampler.next(c.logits, c.history, c.prompt);
    size_t count = std::min(static_cast<size_t>(c.options.top_log_probabilities), tokens.size());
    ASSERT_EQ(sampler.top().size(), count);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(sampler.top()[i].id, tokens[i].id);
      EXPECT_NEAR(sampler.top()[i].log_probability, static_cast<double>(std::log(tokens[i].probability)), 1e-12);
    }
    for (const Token& t : tokens) {
      if (t.id != id) continue;
      EXPECT_NEAR(sampler.log_probability(), static_cast<double>(std::log(t.probability)), 1e-12);
    }
  }
}

TEST(SamplingReference, PortableExpIsWithinTwoUnitsInTheLastPlace) {
  Rng rng(13, 0);
  for (int i = 0; i < 200000; ++i) {
    double x = -708 * std::pow(rng.uniform(), 4);
    long double exact = std::exp(static_cast<long double>(x));
    double unit = std::nextafter(static_cast<double>(exact), 2) - static_cast<double>(exact);
    ASSERT_LE(std::abs(static_cast<long double>(portable_exp(x)) - exact), 2 * unit) << x;
  }
  EXPECT_EQ(portable_exp(0), 1);
  EXPECT_EQ(portable_exp(-1e300), 0);
  EXPECT_EQ(portable_exp(-std::numeric_limits<double>::infinity()), 0);
}

TEST(SamplingReference, SelectionIsTheHeadOfTheSortedLogits) {
  Rng rng(14, 0);
  std::vector<ScoredId> out;
  for (int round = 0; round < 500; ++round) {
    std::vector<float> logits;
    for (uint32_t i = rng.below(300); i > 0; --i) logits.push_back(static_cast<float>(rng.below(40)));
    for (float& logit : logits) {
      if (rng.below(20) == 0) logit = rng.below(2) ? NAN : -INFINITY;
    }
    std::vector<Token> tokens;
    for (size_t v = 0; v < logits.size(); ++v) {
      if (logits[v] >= 0) tokens.push_back({logits[v], static_cast<int32_t>(v)});
    }
    by_probability(tokens);
    size_t k = rng.below(320);
    select_largest(logits, static_cast<int64_t>(k), out);
    ASSERT_EQ(out.size(), std::min(k, tokens.size()));
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i].id, tokens[i].id);
  }
}

TEST(SamplingReference, NothingIsAllocatedAfterTheFirstToken) {
  std::vector<SamplingOptions> all{
      {},
      {.temperature = 1},
      {.temperature = 1, .top_k = 40, .log_probabilities = true, .top_log_probabilities = 20},
      {.banned = {3},
       .repetition_penalty = 1.2,
       .presence_penalty = 1,
       .frequency_penalty = 1,
       .logit_bias = {{5, 1}},
       .temperature = 1,
       .top_p = 0.95,
       .min_p = 0.001,
       .typical = 0.9},
  };
  Rng rng(15, 0);
  std::vector<float> logits(5000);
  std::vector<int32_t> history{1, 2, 3, 2};
  for (const SamplingOptions& options : all) {
    Sampler sampler(options);
    sampler.next(logits, history);
    int64_t before = allocations();
    for (int i = 0; i < 20; ++i) {
      for (float& logit : logits) logit = static_cast<float>(rng.normal());
      history[1] = sampler.next(logits, history);
    }
    EXPECT_EQ(allocations(), before);
  }
  EXPECT_GT(allocations(), 0);
}

}  // namespace
}  // namespace tandem::test
