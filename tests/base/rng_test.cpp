#include "base/rng.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/json.h"

namespace tandem {
namespace {

// Known answers of Philox 4x32-10 that its authors publish with Random123 (kat_vectors).
TEST(Philox, KnownAnswers) {
  using Counter = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, DrawsTheWordsOfPhiloxInOrder) {
  Rng rng(0x299f31d0'a4093822, 0x03707344'13198a2e);
  for (uint32_t block = 0; block < 3; ++block) {
    auto words = philox({block, 0, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
    for (uint32_t word : words) EXPECT_EQ(rng.next(), word);
  }
  EXPECT_EQ(rng.state().position, 12u);
}

TEST(Rng, ContinuesFromAStoredState) {
  Rng rng(7, 9);
  for (int i = 0; i < 5; ++i) rng.normal();
  rng.below(10);
  Rng again(rng.state());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(again.next(), rng.next());
}

TEST(Rng, ReadsBlocksBeyondTheFirst32BitsOfTheCounter) {
  Rng rng(Rng::State{.seed = 1, .stream = 2, .position = (uint64_t{5} << 34) + 1});
  EXPECT_EQ(rng.next(), philox({0, 5, 2, 0}, {1, 0})[1]);
}

TEST(Rng, StreamsAndSeedsDiffer) {
  Rng a(1, 0), b(2, 0), c(1, 1);
  int equal = 0;
  for (int i = 0; i < 1000; ++i) {
    uint32_t x = a.next(), y = b.next(), z = c.next();
    equal += (x == y) + (x == z) + (y == z);
  }
  EXPECT_EQ(equal, 0);
}

// The bounds below are five standard deviations of the statistic; the seeds are fixed, so the tests always give the
// same answer.
TEST(Rng, UniformHasItsMeanAndVariance) {
  constexpr int kDraws = 100'000;
  Rng rng(3, 0);
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    double u = rng.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += (u - 0.5) * (u - 0.5);
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(squares / kDraws, 1.0 / 12, 5 * std::sqrt(1.0 / 180 / kDraws));
}

TEST(Rng, NormalHasItsMoments) {
  constexpr int kDraws = 100'000;
  Rng rng(4, 0);
  double m1 = 0, m2 = 0, m4 = 0;
  for (int i = 0; i < kDraws; ++i) {
    double x = rng.normal();
    ASSERT_TRUE(std::isfinite(x));
    m1 += x;
    m2 += x * x;
    m4 += x * x * x * x;
  }
  EXPECT_NEAR(m1 / kDraws, 0, 5 * std::sqrt(1.0 / kDraws));
  EXPECT_NEAR(m2 / kDraws, 1, 5 * std::sqrt(2.0 / kDraws));
  EXPECT_NEAR(m4 / kDraws, 3, 5 * std::sqrt(96.0 / kDraws));
}

TEST(Rng, BelowIsUniformAndInRange) {
  Rng rng(5, 0);
  EXPECT_EQ(rng.below(1), 0u);
  constexpr int kDraws = 70'000;
  for (uint32_t n : {2u, 7u, 10u}) {
    std::vector<int> counts(n);
    for (int i = 0; i < kDraws; ++i) {
      uint32_t x = rng.below(n);
      ASSERT_LT(x, n);
      ++counts[x];
    }
    double p = 1.0 / n;
    for (int count : counts) EXPECT_NEAR(count, kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)));
  }
}

// With n = 3 * 2^30, taking the word modulo n would give the first quarter of 2^32 twice as often.
TEST(Rng, BelowHasNoBiasForLargeRanges) {
  Rng rng(6, 0);
  constexpr uint32_t kRange = 3u << 30;
  constexpr int kDraws = 30'000;
  int lowest_third = 0;
  for (int i = 0; i < kDraws; ++i) lowest_third += rng.below(kRange) < kRange / 3;
  EXPECT_NEAR(lowest_third, kDraws / 3.0, 5 * std::sqrt(kDraws * 2.0 / 9));
}

}  // namespace
}  // namespace tandem
