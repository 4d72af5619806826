#include "cache/recent_rows.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/rng.h"

namespace tandem::test {
namespace {

constexpr int64_t kTokens = 1 << 14;

struct Pool {
  explicit Pool(int64_t pages = 1000) : budget(pages * kPageTokens * 4), pool(budget, {{DType::f32, 1, 1}}, kTokens) {}
  MemoryBudget budget;
  PagePool pool;
  float& at(int32_t row) { return pool.column(0).as<float>()[row]; }
};

// A pass in place: every token's number goes to its row.
void write(Pool& pool, RecentRows& rows, int64_t count, float offset = 0) {
  ASSERT_TRUE(rows.reserve(count));
  int64_t before = rows.length();
  rows.append_in_place(count);
  for (int64_t t = before; t < before + count; ++t) pool.at(rows.row(t)) = static_cast<float>(t) + offset;
  rows.settle();
}

// A pass that keeps what stays.
void read(Pool& pool, RecentRows& rows, int64_t count) {
  ASSERT_TRUE(rows.reserve(count));
  int64_t before = rows.length();
  rows.append_latest(count);
  for (int64_t t = before; t < before + count; ++t) {
    if (rows.has(t)) pool.at(rows.row(t)) = static_cast<float>(t);
  }
  rows.settle();
}

void expect_latest(Pool& pool, const RecentRows& rows, int64_t keep, float offset = 0, int64_t offset_from = 0) {
  for (int64_t t = std::max<int64_t>(0, rows.length() - keep); t < rows.length(); ++t) {
    ASSERT_TRUE(rows.has(t)) << t << " of " << rows.length();
    EXPECT_EQ(pool.at(rows.row(t)), static_cast<float>(t) + (t >= offset_from ? offset : 0));
  }
}

TEST(RecentRows, HoldTheLatestTokensInAConstantNumberOfPages) {
  for (int64_t keep : {1, 5, 63, 64, 65, 200}) {
    for (int64_t piece : {1, 7, 64}) {
      Pool pool;
      RecentRows written(pool.pool, keep), read_rows(pool.pool, keep);
      int64_t most = (keep + RecentRows::kSlack + 63) / 64 + 1;
      for (int64_t length = 0; length < 700; length += piece) {
        write(pool, written, piece);
        read(pool, read_rows, 3 * piece);
        expect_latest(pool, written, keep);
        expect_latest(pool, read_rows, keep);
        EXPECT_LE(written.page_bytes(), most * pool.pool.page_bytes()) << keep << ", " << written.length();
        EXPECT_LE(read_rows.page_bytes(), most * pool.pool.page_bytes());
      }
    }
  }
}

TEST(RecentRows, RoomForALongSequenceIsAConstantNumberOfPages) {
  Pool pool(4);
  RecentRows rows(pool.pool, 20);
  EXPECT_FALSE(rows.reserve(100000));
  EXPECT_EQ(pool.pool.pages_in_use(), 0);
  Pool enough(8);
  RecentRows more(enough.pool, 20);
  ASSERT_TRUE(more.reserve(1000));
  int64_t held = enough.pool.pages_in_use();
  // Whoever comes later finds the pool full, and the room stays promised: page after page.
  while (enough.pool.allocate() != PagePool::kNone) {
  }
  for (int64_t length = 0; length < 960; length += 60) {
    more.append_in_place(60);
    more.settle();
    EXPECT_LE(more.page_bytes(), held * enough.pool.page_bytes());
  }
}

TEST(RecentRows, RoomThatWasPromisedIsEnoughForPassesOfAnyLength) {
  constexpr int64_t kLength = 700;
  Rng rng(3, 0);
  for (int64_t keep : {1, 63, 64, 65, 200}) {
    for (int64_t first : {1, 7, 64, 300}) {
      Pool pool;
      RecentRows rows(pool.pool, keep);
      ASSERT_TRUE(rows.reserve(kLength));
      const int64_t promised = rows.page_bytes();
      ASSERT_TRUE(pool.budget.take(pool.budget.limit() - promised)) << "others have the rest";
      for (int64_t count = first; count > 0;
           count = std::min<int64_t>(1 + rng.below(rng.below(2) == 0 ? 64 : 600), kLength - rows.length())) {
        count <= RecentRows::kMostInPlace&& rng.below(2) == 0 ? write(pool, rows, count) : read(pool, rows, count);
        ASSERT_FALSE(HasFatalFailure()) << keep << ", first " << first << ", at " << rows.length();
        expect_latest(pool, rows, keep);
        EXPECT_LE(rows.page_bytes(), promised);
      }
      EXPECT_EQ(rows.length(), kLength);
    }
  }
}

TEST(RecentRows, AFewTokensCanAlwaysBeTakenBack) {
  Pool pool;
  RecentRows rows(pool.pool, 30);
  write(pool, rows, 10);
  for (int64_t length = 10; length < 400; length += 13) {
    write(pool, rows, 13);
    for (int64_t back : {int64_t{0}, int64_t{1}, RecentRows::kSlack}) {
      EXPECT_EQ(rows.can_trim(rows.length() - back), back <= rows.length()) << rows.length();
    }
  }
  EXPECT_FALSE(rows.can_trim(100));
  EXPECT_FALSE(rows.can_trim(rows.length() + 1));
}

TEST(RecentRows, APinnedLengthStays) {
  Pool pool;
  RecentRows rows(pool.pool, 70);
  read(pool, rows, 150);
  rows.pin();
  for (int i = 0; i < 20; ++i) write(pool, rows, 31, 0.5f);
  EXPECT_TRUE(rows.can_trim(150));
  EXPECT_FALSE(rows.can_trim(300));
  rows.trim(150);
  expect_latest(pool, rows, 70);
  rows.unpin();
  write(pool, rows, 60);
  for (int i = 0; i < 5; ++i) write(pool, rows, 60);
  EXPECT_FALSE(rows.can_trim(150));
}

TEST(RecentRows, UnsharedPagesAreCopies) {
  Pool pool(12);
  RecentRows rows(pool.pool, 40);
  write(pool, rows, 60);
  rows.pin();
  for (int i = 0; i < 3; ++i) write(pool, rows, 60);
  int64_t held = pool.pool.pages_in_use();
  EXPECT_EQ(held * pool.pool.page_bytes(), rows.page_bytes());
  RecentRows branch(rows);
  ASSERT_TRUE(branch.unshare());
  EXPECT_EQ(pool.pool.pages_in_use(), 2 * held);
  for (int64_t t = 20; t < 240; ++t) {
    if (rows.has(t)) pool.at(rows.row(t)) = -1;
  }
  expect_latest(pool, branch, 40);
  branch.trim(60);
  expect_latest(pool, branch, 40);
}

TEST(RecentRows, UnsharingChangesNothingWithoutRoom) {
  Pool pool(3);
  RecentRows rows(pool.pool, 40);
  write(pool, rows, 30);
  write(pool, rows, 60);
  int64_t held = pool.pool.pages_in_use();
  ASSERT_EQ(held, 2);
  RecentRows branch(rows);
  EXPECT_FALSE(branch.unshare());
  EXPECT_EQ(pool.pool.pages_in_use(), held);
  expect_latest(pool, branch, 40);
}

// Branches that share pages and write behind them, at random; no page is left behind.
TEST(RecentRows, BranchesAreIndependent) {
  Pool pool(400);
  Rng rng(3, 0);
  struct Branch {
    std::unique_ptr<RecentRows> rows;
    float offset;
    int64_t from;
  };
  {
    std::vector<Branch> branches;
    branches.push_back({std::make_unique<RecentRows>(pool.pool, 40), 0, 0});
    for (int i = 0; i < 600; ++i) {
      Branch& b = branches[rng.below(static_cast<uint32_t>(branches.size()))];
      if (rng.below(10) == 0 && branches.size() < 12) {
        Branch fork{std::make_unique<RecentRows>(*b.rows), static_cast<float>(rng.below(1000)) / 1024,
                    b.rows->length()};
        // What stands before is the parent's; compared only where both agree.
        expect_latest(pool, *fork.rows, 0);
        branches.push_back(std::move(fork));
      } else if (rng.below(12) == 0 && branches.size() > 1) {
        branches.erase(branches.begin() + static_cast<int64_t>(&b - branches.data()));
      } else {
        int64_t count = 1 + rng.below(50);
        write(pool, *b.rows, count, b.offset);
        expect_latest(pool, *b.rows, std::min<int64_t>(40, b.rows->length() - b.from), b.offset, b.from);
      }
    }
  }
  EXPECT_EQ(pool.pool.pages_in_use(), 0);
  EXPECT_EQ(pool.budget.used(), 0);
}

}  // namespace
}  // namespace tandem::test
