#include "base/hash.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>

#include "base/rng.h"

namespace tandem {
namespace {

std::string random_bytes(Rng& rng, size_t count) {
  std::string bytes(count, ' ');
  for (char& c : bytes) c = static_cast<char>(rng.below(256));
  return bytes;
}

TEST(Hash64, DoesNotDependOnThePieces) {
  Rng rng(1, 1);
  for (int round = 0; round < 200; ++round) {
    std::string bytes = random_bytes(rng, rng.below(100));
    Hash64 pieces;
    for (size_t at = 0; at < bytes.size();) {
      size_t count = std::min<size_t>(rng.below(20), bytes.size() - at);
      pieces.add(bytes.data() + at, count);
      at += count;
    }
    EXPECT_EQ(pieces.value(), hash64(bytes));
  }
}

// Held-out sets and caches are named by it: it may never change.
TEST(Hash64, KeepsItsValues) {
  EXPECT_EQ(hex64(hash64("")), "a8871e3718ca0053");
  EXPECT_EQ(hex64(hash64("abc")), "36a4fc75d69be6ad");
  EXPECT_EQ(hex64(hash64("The quick brown fox jumps over the lazy dog")), "66157fc89233c0c8");
}

TEST(Hash64, TellsLengthsOrdersAndSingleBitsApart) {
  std::set<uint64_t> seen;
  std::string zeros;
  for (int n = 0; n < 100; ++n, zeros += '\0') EXPECT_TRUE(seen.insert(hash64(zeros)).second) << n;
  EXPECT_NE(hash64("abcdefghABCDEFGH"), hash64("ABCDEFGHabcdefgh"));

  // One flipped bit changes half of the result's bits: 32 of 64 with a standard deviation of 4 per trial.
  Rng rng(2, 1);
  int64_t changed = 0, trials = 2000;
  for (int64_t i = 0; i < trials; ++i) {
    std::string bytes = random_bytes(rng, 1 + rng.below(40));
    uint64_t before = hash64(bytes);
    bytes[rng.below(static_cast<uint32_t>(bytes.size()))] ^= static_cast<char>(1 << rng.below(8));
    changed += std::popcount(before ^ hash64(bytes));
  }
  EXPECT_NEAR(static_cast<double>(changed) / static_cast<double>(trials), 32, 5 * 4 / std::sqrt(trials));
}

TEST(Hash64, SizedPartsDoNotRunTogether) {
  Hash64 a, b;
  a.add_sized("ab");
  a.add_sized("c");
  b.add_sized("a");
  b.add_sized("bc");
  EXPECT_NE(a.value(), b.value());
}

}  // namespace
}  // namespace tandem
