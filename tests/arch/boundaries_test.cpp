#include "arch/boundaries.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "base/error.h"

namespace tandem::test {
namespace {

std::vector<std::vector<int32_t>> draws(const BoundaryRule& rule, int64_t length, int count, uint64_t seed = 3) {
  Rng rng(seed, 0);
  std::vector<std::vector<int32_t>> out;
  for (int i = 0; i < count; ++i) out.push_back(draw_boundaries(rule, length, rng));
  return out;
}

// Of random_uniform.
std::vector<std::vector<int32_t>> draws(int64_t length, int64_t max_blocks, int count, uint64_t seed = 3) {
  return draws({.max_blocks = max_blocks}, length, count, seed);
}

BoundaryRule rule_of(const std::string& text) {
  BoundaryRule rule;
  EXPECT_TRUE(rule.strategy.parse(text)) << text;
  return rule;
}

// Upper bound of a chi-square statistic with k degrees of freedom that chance exceeds once in a million: Wilson and
// Hilferty 1931 with the normal quantile 4.753.
double chi_square_bound(double k) {
  double a = 2 / (9 * k);
  return k * std::pow(1 - a + 4.753 * std::sqrt(a), 3);
}

// Chi-square statistic of counts against equal expectations.
double chi_square(const std::vector<double>& counts, const std::vector<double>& expected) {
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) sum += std::pow(counts[i] - expected[i], 2) / expected[i];
  return sum;
}

constexpr int kDraws = 20000;

TEST(Boundaries, AreAscendingDistinctAndInTheRow) {
  for (int64_t length : {9, 10, 48, 2048}) {
    for (const auto& boundaries : draws(length, 8, 2000)) {
      ASSERT_GE(boundaries.size(), 2u);
      ASSERT_LE(boundaries.size(), 7u);
      for (size_t i = 0; i < boundaries.size(); ++i) {
        ASSERT_GE(boundaries[i], i == 0 ? 2 : boundaries[i - 1] + 1);
        ASSERT_LE(boundaries[i], length - 2);
      }
    }
  }
}

TEST(Boundaries, CountIsUniform) {
  std::vector<double> counts(6, 0.0);
  for (const auto& boundaries : draws(2048, 8, kDraws)) counts[boundaries.size() - 2] += 1;
  EXPECT_LT(chi_square(counts, std::vector<double>(6, kDraws / 6.0)), chi_square_bound(5));
}

TEST(Boundaries, FewerBlocksFewerBoundaries) {
  std::set<size_t> seen;
  for (const auto& boundaries : draws(2048, 4, 500)) seen.insert(boundaries.size());
  EXPECT_EQ(seen, (std::set<size_t>{2, 3}));
  for (const auto& boundaries : draws(2048, 3, 50)) EXPECT_EQ(boundaries.size(), 2u);
}

// Draws without replacement make every position equally likely.
TEST(Boundaries, PositionsAreUniform) {
  constexpr int64_t kLength = 2048, kBin = 64;
  std::vector<double> counts(kLength / kBin, 0.0), places(kLength / kBin, 0.0);
  double total = 0;
  for (const auto& boundaries : draws(kLength, 8, kDraws)) {
    for (int32_t b : boundaries) counts[static_cast<size_t>(b / kBin)] += 1;
    total += static_cast<double>(boundaries.size());
  }
  for (int64_t b = 2; b <= kLength - 2; ++b) places[static_cast<size_t>(b / kBin)] += 1;
  for (double& p : places) p *= total / (kLength - 3);
  // Positions of one draw repel each other a little, which makes the statistic smaller, not larger.
  EXPECT_LT(chi_square(counts, places), chi_square_bound(31));
}

// All subsets of a given size are equally likely.
TEST(Boundaries, SubsetsAreUniform) {
  std::map<std::vector<int32_t>, double> counts;
  double pairs = 0;
  for (const auto& boundaries : draws(9, 8, 60000)) {
    if (boundaries.size() != 2) continue;
    counts[boundaries] += 1;
    ++pairs;
  }
  std::vector<double> list;
  for (const auto& [boundaries, n] : counts) list.push_back(n);
  ASSERT_EQ(list.size(), 15u);  // pairs out of the positions 2..7
  EXPECT_LT(chi_square(list, std::vector<double>(15, pairs / 15)), chi_square_bound(14));
}

// 20000 draws of the authors' collator for L = 2048: mean and standard deviation of positions, of block lengths and of
// the first boundary. Ours have to agree within five standard errors of the difference.
TEST(Boundaries, StatisticsAreThoseOfTheAuthorsCollator) {
  struct Statistic {
    std::vector<double> values;
    double mean, deviation;
  };
  Statistic position{{}, 1024.41, 590.7725}, length{{}, 372.5465, 338.0007}, first{{}, 415.3213, 371.1717};
  for (const auto& boundaries : draws(2048, 8, kDraws)) {
    int32_t previous = 0;
    for (int32_t b : boundaries) {
      position.values.push_back(b);
      length.values.push_back(b - previous);
      previous = b;
    }
    length.values.push_back(2048 - previous);
    first.values.push_back(boundaries[0]);
  }
  for (const Statistic& s : {position, length, first}) {
    auto n = static_cast<double>(s.values.size());
    double mean = 0, squares = 0;
    for (double v : s.values) mean += v / n;
    for (double v : s.values) squares += (v - mean) * (v - mean) / n;
    double error = s.deviation * std::sqrt(2 / n);
    EXPECT_NEAR(mean, s.mean, 5 * error);
    // Kurtosis below 9 for all three, so the deviation's standard error is below sqrt(2) that of the mean.
    EXPECT_NEAR(std::sqrt(squares), s.deviation, 5 * std::sqrt(2.0) * error);
  }
}

TEST(Boundaries, ShortRowsTakeWhatThereIs) {
  for (int64_t length = 1; length <= 3; ++length) {
    for (const auto& boundaries : draws(length, 8, 20)) EXPECT_TRUE(boundaries.empty()) << length;
  }
  for (const auto& boundaries : draws(4, 8, 20)) EXPECT_EQ(boundaries, std::vector<int32_t>{2});
  for (const auto& boundaries : draws(5, 8, 20)) EXPECT_EQ(boundaries, (std::vector<int32_t>{2, 3}));
}

TEST(Boundaries, StrategiesAreReadAndWrittenAsText) {
  for (const char* text : {"random_uniform", "logspace", "single_middle", "prompt_style", "mixed", "fixed:16",
                           "fixed:1", "geometric:32"}) {
    EXPECT_EQ(rule_of(text).strategy.text(), text);
  }
  for (const char* text : {"", "fixed", "fixed:", "fixed:0", "fixed:-4", "fixed:4x", "fixed:99999999999", "mixed:8",
                           "uniform", "geometric:1.5", ":4"}) {
    BoundaryStrategy strategy{BoundaryKind::fixed, 7};
    EXPECT_FALSE(strategy.parse(text)) << text;
    EXPECT_EQ(strategy, (BoundaryStrategy{BoundaryKind::fixed, 7}));
  }
}

TEST(Boundaries, LogspaceDrawsTwoFourOrEight) {
  std::map<size_t, double> counts;
  for (const auto& boundaries : draws(rule_of("logspace"), 2048, kDraws)) {
    counts[boundaries.size()] += 1;
    EXPECT_GE(boundaries.front(), 2);
    EXPECT_LE(boundaries.back(), 2046);
  }
  ASSERT_EQ(counts.size(), 3u);
  EXPECT_LT(chi_square({counts[2], counts[4], counts[8]}, {kDraws / 2.0, kDraws / 4.0, kDraws / 4.0}),
            chi_square_bound(2));
}

TEST(Boundaries, FixedAndMiddleDrawNothing) {
  for (const auto& b : draws(rule_of("fixed:16"), 50, 3)) EXPECT_EQ(b, (std::vector<int32_t>{16, 32, 48}));
  for (const auto& b : draws(rule_of("fixed:16"), 16, 3)) EXPECT_TRUE(b.empty());
  for (const auto& b : draws(rule_of("fixed:1"), 4, 3)) EXPECT_EQ(b, (std::vector<int32_t>{1, 2, 3}));
  for (const auto& b : draws(rule_of("single_middle"), 33, 3)) EXPECT_EQ(b, std::vector<int32_t>{16});
  for (const auto& b : draws(rule_of("single_middle"), 1, 3)) EXPECT_TRUE(b.empty());
}

TEST(Boundaries, GeometricBlocksAreMemoryless) {
  constexpr int kRows = 2000;
  constexpr int64_t kLength = 129;
  std::vector<double> at(kLength, 0.0);
  for (const auto& boundaries : draws(rule_of("geometric:8"), kLength, kRows)) {
    for (int32_t b : boundaries) at[static_cast<size_t>(b)] += 1;
  }
  EXPECT_EQ(at[0], 0);
  double statistic = 0;  // per position, a binomial count with p = 1/8
  for (size_t t = 1; t < at.size(); ++t) statistic += std::pow(at[t] - kRows / 8.0, 2) / (kRows / 8.0 * 7 / 8.0);
  EXPECT_LT(statistic, chi_square_bound(128));
  for (const auto& b : draws(rule_of("geometric:1"), 4, 3)) EXPECT_EQ(b, (std::vector<int32_t>{1, 2, 3}));
}

// One interval per batch, log-uniform in 4..L: each octave of intervals is equally likely, and the first boundary is
// uniform in 1..interval.
TEST(Boundaries, MixedDrawsOneLogUniformInterval) {
  constexpr int64_t kLength = 256;
  std::map<int, double> octaves;
  double phases = 0, intervals = 0;
  for (const auto& b : draws(rule_of("mixed"), kLength, kDraws)) {
    for (size_t i = 2; i < b.size(); ++i) ASSERT_EQ(b[i] - b[i - 1], b[1] - b[0]);
    if (b.size() < 2) continue;
    int interval = b[1] - b[0];
    ASSERT_GE(interval, 4);
    ASSERT_LE(b[0], interval);
    if (interval <= 63) {  // longer ones can leave fewer than two boundaries in the row
      octaves[static_cast<int>(std::log2((interval) / 4.0))] += 1;
      phases += (b[0] - 0.5) / interval;
      intervals += 1;
    }
  }
  // Intervals are rounded: an octave 4..7 takes what falls into 4..7.5, that is log2(7.5 / 4) of six octaves.
  std::vector<double> counts, expected;
  for (int octave = 0; octave < 4; ++octave) {
    double low = std::max(4 * std::pow(2, octave) - 0.5, 4.0), high = 8 * std::pow(2, octave) - 0.5;
    counts.push_back(octaves[octave]);
    expected.push_back(kDraws * std::log2(high / low) / 6);
  }
  EXPECT_LT(chi_square(counts, expected), chi_square_bound(3));
  EXPECT_NEAR(phases / intervals, 0.5, 5 * std::sqrt(1 / 12.0 / intervals));
}

TEST(Boundaries, PromptStyleDrawsRecordedLengths) {
  BoundaryRule rule = rule_of("prompt_style");
  rule.prompts = PromptLengths::parse({"1:50", "5:10", "9", "9:2", "31:50"}, "test");
  std::map<int32_t, double> counts;
  for (const auto& b : draws(rule, 32, kDraws)) {
    ASSERT_EQ(b.size(), 1u);
    counts[b[0]] += 1;
  }
  ASSERT_EQ(counts.size(), 2u);  // 1 and 31 lie outside of 2..30
  EXPECT_LT(chi_square({counts[5], counts[9]}, {kDraws * 10.0 / 13, kDraws * 3.0 / 13}), chi_square_bound(1));
  for (const auto& b : draws(rule, 6, 3)) EXPECT_EQ(b, std::vector<int32_t>{3});
  for (const char* bad : {"", "x", "0", "4:", "4:0", "4:x", "-3"}) {
    EXPECT_THROW(PromptLengths::parse({bad}, "test"), InputError) << bad;
  }
}

TEST(Boundaries, SameSeedSameBoundaries) {
  EXPECT_EQ(draws(48, 8, 10, 5), draws(48, 8, 10, 5));
  EXPECT_NE(draws(48, 8, 10, 5), draws(48, 8, 10, 6));
}

}  // namespace
}  // namespace tandem::test
