#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"

namespace tandem {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// How often each id is drawn in `draws` draws from the same logits.
std::map<int32_t, int> histogram(const SamplingOptions& options, const std::vector<float>& logits, int draws,
                                 const std::vector<int32_t>& history = {}) {
  Sampler sampler(options);
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    ++counts[sampler.next(copy, history)];
  }
  return counts;
}

std::vector<float> log_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

TEST(Sampler, GreedyTakesTheLargestAndTheSmallerIdOfATie) {
  SamplingOptions greedy;
  EXPECT_EQ(histogram(greedy, {1, 5, 2, 5}, 3), (std::map<int32_t, int>{{1, 3}}));
  EXPECT_EQ(histogram(greedy, {kNan, -3, kNan, -2}, 1), (std::map<int32_t, int>{{3, 1}}));
}

TEST(Sampler, DrawsByProbabilityAtTemperatureOne) {
  SamplingOptions options;
  options.temperature = 1;
  options.seed = 7;
  const std::vector<double> probabilities{0.5, 0.3, 0.15, 0.05};
  constexpr int kDraws = 40000;
  std::map<int32_t, int> counts = histogram(options, log_of(probabilities), kDraws);
  for (size_t id = 0; id < probabilities.size(); ++id) {
    double p = probabilities[id];
    // Five standard deviations of a binomial count.
    double bound = 5 * std::sqrt(kDraws * p * (1 - p));
    EXPECT_NEAR(counts[static_cast<int32_t>(id)], kDraws * p, bound) << id;
  }
}

TEST(Sampler, TemperatureSharpens) {
  SamplingOptions options;
  options.temperature = 0.5;  // squares the probabilities: 0.64 and 0.04 of their sum
  constexpr int kDraws = 20000;
  std::map<int32_t, int> counts = histogram(options, log_of({0.8, 0.2}), kDraws);
  double p = 0.64 / 0.68;
  EXPECT_NEAR(counts[0], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)));
}

TEST(Sampler, TopKKeepsTheLargest) {
  SamplingOptions options;
  options.temperature = 10;
  options.top_k = 2;
  std::map<int32_t, int> counts = histogram(options, {0, 3, 1, 2, 3}, 500);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_GT(counts[1], 0);
  EXPECT_GT(counts[4], 0);
  options.top_k = 1;
  EXPECT_EQ(histogram(options, {0, 3, 1, 2, 3}, 50), (std::map<int32_t, int>{{1, 50}}));
  options.top_k = 99;  // more than there are
  EXPECT_EQ(histogram(options, {0, 3, 1, 2, 3}, 2000).size(), 5u);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  SamplingOptions options;
  options.temperature = 1;
  std::vector<float> logits = log_of({0.1, 0.5, 0.15, 0.25});
  for (auto [top_p, kept] :
       std::vector<std::pair<double, size_t>>{{0.01, 1}, {0.45, 1}, {0.7, 2}, {0.8, 3}, {0.95, 4}}) {
    options.top_p = top_p;
    EXPECT_EQ(histogram(options, logits, 2000).size(), kept) << top_p;
  }
}

TEST(Sampler, MinPComparesWithTheBest) {
  SamplingOptions options;
  options.temperature = 1;
  options.min_p = 0.4;  // of 0.5: 0.2
  std::map<int32_t, int> counts = histogram(options, log_of({0.1, 0.5, 0.15, 0.25}), 2000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(1) && counts.contains(3));
  options.min_p = 1;
  EXPECT_EQ(histogram(options, log_of({0.1, 0.5, 0.15, 0.25}), 50), (std::map<int32_t, int>{{1, 50}}));
}

// The smallest bias of token 1 that makes it win against token 0 lies between the two: what the chain did to both.
void expect_lead(SamplingOptions options, std::vector<float> logits, const std::vector<int32_t>& history, double lead,
                 size_t prompt_tokens = 0) {
  for (double step : {-0.01, 0.01}) {
    options.logit_bias = {{1, lead + step}};
    EXPECT_EQ(Sampler(options).next(logits, history, prompt_tokens), step > 0 ? 1 : 0) << lead + step;
  }
}

TEST(Sampler, RepetitionPenaltyActsOncePerIdAndTowardsTheImprobable) {
  SamplingOptions options{.repetition_penalty = 2};
  expect_lead(options, {4, 0}, {0, 0, 0}, 2);
  expect_lead(options, {-4, -9}, {0}, 1);
  expect_lead(options, {-4, -9}, {0, 1, 1}, 10);
  expect_lead(options, {4, 3}, {}, 1);
  expect_lead(options, {4, 0}, {0}, 2, /*prompt_tokens=*/1);  // of the prompt, too
}

TEST(Sampler, PresenceAndFrequencyCountWhatWasWritten) {
  expect_lead({.presence_penalty = 1.5}, {4, 0}, {0, 0, 0}, 2.5);
  expect_lead({.frequency_penalty = 0.5}, {4, 0}, {0, 0, 0}, 2.5);
  expect_lead({.presence_penalty = 1, .frequency_penalty = 0.5}, {4, 0}, {0, 1, 0}, 4 - 2 + 1.5);
  expect_lead({.presence_penalty = 1, .frequency_penalty = 0.5}, {4, 0}, {0, 1, 0}, 4 - 1.5, /*prompt_tokens=*/2);
  expect_lead({.presence_penalty = -1}, {4, 0}, {0}, 5);
  // Repetition first: 4 / 2 - 1.
  expect_lead({.repetition_penalty = 2, .presence_penalty = 1}, {4, 0}, {0}, 1);
}

TEST(Sampler, LogitBiasAddsUp) {
  std::vector<float> logits{1, 2, 3};
  EXPECT_EQ(Sampler({.logit_bias = {{0, 2.5}}}).next(logits, {}), 0);
  EXPECT_EQ(Sampler({.logit_bias = {{2, -0.75}}}).next(logits, {}), 2);
  EXPECT_EQ(Sampler({.logit_bias = {{2, -0.75}, {2, -0.75}}}).next(logits, {}), 1);
}

TEST(Sampler, OnlyAllowedTokensAreDrawnAndNeverBannedOnes) {
  std::vector<float> logits(200, 0.0f);
  logits[7] = 5;
  EXPECT_EQ(Sampler({.banned = {7}}).next(logits, {}), 0);
  EXPECT_EQ(Sampler({.allowed = {150, 130}}).next(logits, {}), 130);
  // No bias makes a token possible again.
  EXPECT_EQ(Sampler({.banned = {7}, .logit_bias = {{7, 100}}}).next(logits, {}), 0);
  SamplingOptions options{.allowed = {7, 66, 199}, .banned = {66}, .temperature = 100};
  std::map<int32_t, int> counts = histogram(options, logits, 200);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(7) && counts.contains(199));
  // The model excludes what the options ask for.
  logits[3] = -kInf;
  EXPECT_THROW(Sampler({.allowed = {3}}).next(logits, {}), InputError);
}

TEST(Sampler, TypicalKeepsWhatIsNearestToTheEntropy) {
  // Entropy 1.0297; distances of the surprise: 0.3365 (0.5), 0.1742 (0.3), 0.8674 (0.15), 1.9660 (0.05).
  SamplingOptions options;
  options.temperature = 1;
  std::vector<float> logits = log_of({0.5, 0.3, 0.15, 0.05});
  auto kept = [&](double typical) {
    options.typical = typical;
    std::vector<int32_t> ids;
    for (auto [id, count] : histogram(options, logits, 2000)) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(kept(0.2), (std::vector<int32_t>{1}));
  EXPECT_EQ(kept(0.5), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(kept(0.9), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(kept(0.97), (std::vector<int32_t>{0, 1, 2, 3}));
}

TEST(Sampler, ACopyContinuesAsTheOriginalWould) {
  std::vector<float> logits(50, 0.0f);
  Sampler one({.temperature = 1, .seed = 3});
  one.next(logits, {});
  Sampler other = one;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(one.next(logits, {}), other.next(logits, {}));
}

TEST(Sampler, SameSeedSameTokensOtherSeedOthers) {
  SamplingOptions options;
  options.temperature = 1;
  std::vector<float> logits(64, 0.0f);
  auto draw = [&](uint64_t seed) {
    options.seed = seed;
    Sampler sampler(options);
    std::vector<int32_t> ids;
    for (int i = 0; i < 32; ++i) {
      std::vector<float> copy = logits;
      ids.push_back(sampler.next(copy, {}));
    }
    return ids;
  };
  EXPECT_EQ(draw(5), draw(5));
  EXPECT_NE(draw(5), draw(6));
}

TEST(Sampler, ImpossibleTokensAreNeverDrawn) {
  SamplingOptions options;
  options.temperature = 1;
  EXPECT_EQ(histogram(options, {-kInf, 0, -kInf, kNan}, 200), (std::map<int32_t, int>{{1, 200}}));
}

TEST(Sampler, LogitsThatAreNotFiniteAreRefused) {
  Sampler sampler({});
  std::vector<float> all_nan{kNan, kNan}, infinite{0, kInf}, impossible{-kInf, -kInf};
  EXPECT_THROW(sampler.next(all_nan, {}), InputError);
  EXPECT_THROW(sampler.next(infinite, {}), InputError);
  EXPECT_THROW(sampler.next(impossible, {}), InputError);
}

TEST(Sampler, OptionsOutOfRangeAreRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  std::vector<SamplingOptions> bad{
      {.repetition_penalty = 0},
      {.presence_penalty = nan},
      {.frequency_penalty = inf},
      {.logit_bias = {{0, inf}}},
      {.temperature = -1},
      {.temperature = nan},
      {.top_k = -1},
      {.top_p = 0},
      {.top_p = 1.1},
      {.min_p = -0.1},
      {.min_p = 2},
      {.typical = 0},
      {.typical = 1.5},
      {.top_log_probabilities = -1},
  };
  for (const SamplingOptions& options : bad) EXPECT_THROW(Sampler{options}, InputError);
}

TEST(Sampler, IdsOutsideTheVocabularyAreRefused) {
  std::vector<SamplingOptions> bad{
      {.allowed = {3}}, {.banned = {-1}}, {.logit_bias = {{3, 1}}}, {.allowed = {1, 2}, .banned = {1, 2}}};
  for (const SamplingOptions& options : bad) {
    EXPECT_THROW(options.check("test", 3), InputError);
    Sampler sampler(options);
    std::vector<float> logits{1, 2, 3};
    EXPECT_THROW(sampler.next(logits, {}), InputError);
  }
  Sampler sampler({.repetition_penalty = 2});
  std::vector<float> logits{1, 2, 3};
  EXPECT_THROW(sampler.next(logits, std::vector<int32_t>{3}), InputError);
}

TEST(LogProbability, IsTheLogOfTheSoftmax) {
  std::vector<float> logits{1, 2, 3};
  double total = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  EXPECT_NEAR(log_probability(logits, 0), std::log(std::exp(1.0) / total), 1e-14);
  std::vector<float> large{1e30f, 0};
  EXPECT_EQ(log_probability(large, 0), 0);
}

}  // namespace
}  // namespace tandem
