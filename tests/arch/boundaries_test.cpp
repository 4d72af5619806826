#include "arch/boundaries.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace tandem::test {
namespace {

std::vector<std::vector<int32_t>> draws(int64_t length, int64_t max_blocks, int count, uint64_t seed = 3) {
  Rng rng(seed, 0);
  std::vector<std::vector<int32_t>> out;
  for (int i = 0; i < count; ++i) out.push_back(draw_boundaries(Boundaries::random_uniform, length, max_blocks, rng));
  return out;
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

TEST(Boundaries, SameSeedSameBoundaries) {
  EXPECT_EQ(draws(48, 8, 10, 5), draws(48, 8, 10, 5));
  EXPECT_NE(draws(48, 8, 10, 5), draws(48, 8, 10, 6));
}

}  // namespace
}  // namespace tandem::test
