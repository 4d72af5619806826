#include "cache/paged_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/rng.h"
#include "kernels/copy_rows.h"

namespace tandem {
namespace {

constexpr int64_t kEnough = int64_t{1} << 40;
const std::vector<PagePool::Column> kColumns{{DType::f32, 2, 3}, {DType::bf16, 1, 5}};
constexpr int64_t kRowBytes = 2 * 3 * 4 + 5 * 2;

// Writes `value` into the rows of all tokens [first, length) of a sequence, in both columns.
void fill(const PagedRows& rows, int64_t first, float value) {
  for (int64_t t = first; t < rows.length(); ++t) {
    for (size_t c = 0; c < kColumns.size(); ++c) {
      const Tensor& column = rows.pool().column(c);
      for (int64_t i = 0; i < column.row_size(); ++i) store_element(column, rows.row(t), i, value);
    }
  }
}

bool holds(const PagedRows& rows, int64_t first, int64_t end, float value) {
  for (int64_t t = first; t < end; ++t) {
    for (size_t c = 0; c < kColumns.size(); ++c) {
      const Tensor& column = rows.pool().column(c);
      for (int64_t i = 0; i < column.row_size(); ++i) {
        if (load_element(column, rows.row(t), i) != value) return false;
      }
    }
  }
  return true;
}

void extend(PagedRows& rows, int64_t count, float value) {
  std::vector<int32_t> slots;
  ASSERT_TRUE(rows.reserve(count));
  int64_t before = rows.length();
  rows.append(count, slots);
  ASSERT_EQ(static_cast<int64_t>(slots.size()), count);
  for (int64_t i = 0; i < count; ++i) EXPECT_EQ(slots[static_cast<size_t>(i)], rows.row(before + i));
  fill(rows, before, value);
}

TEST(PagePool, BytesAreThoseOfWholePages) {
  MemoryBudget budget(kEnough);
  PagePool pool(budget, kColumns, 1000);
  EXPECT_EQ(pool.row_bytes(), kRowBytes);
  EXPECT_EQ(pool.page_bytes(), 64 * kRowBytes);
  EXPECT_EQ(pool.column(0).shape, (Shape{1024, 2, 3}));
  int32_t a = pool.allocate(), b = pool.allocate(a);
  EXPECT_EQ(b, a + 1);
  EXPECT_EQ(pool.bytes_in_use(), 2 * 64 * kRowBytes);
  EXPECT_EQ(budget.used(), pool.bytes_in_use());
  pool.retain(a);
  pool.release(a);
  EXPECT_EQ(pool.pages_in_use(), 2);
  pool.release(a);
  pool.release(b);
  EXPECT_EQ(budget.used(), 0);
}

TEST(PagePool, BudgetIsSharedAndNeverExceeded) {
  MemoryBudget budget(5 * 64 * kRowBytes + 1);
  PagePool one(budget, kColumns, 1000), two(budget, kColumns, 128);
  EXPECT_NE(two.allocate(), PagePool::kNone);
  EXPECT_NE(two.allocate(), PagePool::kNone);
  EXPECT_EQ(two.allocate(), PagePool::kNone) << "more than the pool has room for";
  for (int i = 0; i < 3; ++i) EXPECT_NE(one.allocate(), PagePool::kNone);
  EXPECT_EQ(one.allocate(), PagePool::kNone);
  two.release(0);
  EXPECT_NE(one.allocate(), PagePool::kNone);
  EXPECT_LE(budget.used(), budget.limit());
}

TEST(PagePool, NothingFitsIntoNothing) {
  MemoryBudget budget(0);
  PagePool pool(budget, kColumns, 1000);
  EXPECT_EQ(pool.allocate(), PagePool::kNone);
  EXPECT_FALSE(PagedRows(pool).reserve(1));
}

TEST(PagedRows, CopiesShareUntilOneWrites) {
  MemoryBudget budget(kEnough);
  PagePool pool(budget, kColumns, 4096);
  PagedRows a(pool);
  extend(a, 100, 1);
  PagedRows b = a;
  EXPECT_EQ(pool.pages_in_use(), 2);
  extend(b, 10, 2);
  EXPECT_EQ(pool.pages_in_use(), 3) << "the half-filled page is copied, the full one is not";
  EXPECT_EQ(a.row(0), b.row(0));
  EXPECT_NE(a.row(64), b.row(64));
  extend(a, 10, 3);
  EXPECT_EQ(pool.pages_in_use(), 3);
  EXPECT_TRUE(holds(a, 0, 100, 1) && holds(a, 100, 110, 3));
  EXPECT_TRUE(holds(b, 0, 100, 1) && holds(b, 100, 110, 2));
  PagedRows c = std::move(b);
  a = c;
  EXPECT_EQ(pool.pages_in_use(), 2);
  EXPECT_TRUE(holds(a, 100, 110, 2));
}

TEST(PagedRows, UnsharedCopiesHoldPagesOfTheirOwn) {
  MemoryBudget budget(5 * 64 * kRowBytes);
  PagePool pool(budget, kColumns, 4096);
  PagedRows a(pool);
  extend(a, 100, 1);
  PagedRows b = a, c = a;
  EXPECT_TRUE(b.unshare());
  EXPECT_EQ(pool.pages_in_use(), 4);
  EXPECT_TRUE(holds(b, 0, 100, 1));
  EXPECT_NE(a.row(0), b.row(0));
  EXPECT_FALSE(c.unshare()) << "one page is left, two are needed";
  EXPECT_EQ(pool.pages_in_use(), 4);
  EXPECT_EQ(c.row(0), a.row(0));
  fill(b, 0, 2);
  EXPECT_TRUE(holds(a, 0, 100, 1) && holds(b, 0, 100, 2));
  EXPECT_TRUE(b.unshare()) << "nothing is shared any more";
  EXPECT_EQ(pool.pages_in_use(), 4);
}

TEST(PagedRows, ARefusedReservationChangesNothing) {
  MemoryBudget budget(3 * 64 * kRowBytes);
  PagePool pool(budget, kColumns, 4096);
  PagedRows a(pool);
  extend(a, 100, 1);
  EXPECT_FALSE(a.reserve(100));
  EXPECT_EQ(pool.pages_in_use(), 2);
  PagedRows b = a;
  extend(b, 1, 2);  // its own copy of the half-filled page
  EXPECT_FALSE(b.reserve(64));
  EXPECT_EQ(pool.pages_in_use(), 3);
  EXPECT_TRUE(holds(a, 0, 100, 1) && holds(b, 0, 100, 1) && holds(b, 100, 101, 2));
}

TEST(PagedRows, SpansLetEachTokenSeeWhatStandsBeforeIt) {
  MemoryBudget budget(kEnough);
  PagePool pool(budget, kColumns, 4096);
  for (int64_t length : {1, 63, 64, 65, 130, 200}) {
    for (int64_t queries : {int64_t{0}, int64_t{1}, int64_t{3}, std::min<int64_t>(length, 70)}) {
      if (queries > length) continue;
      // Every second page belongs to somebody else.
      PagedRows rows(pool), other(pool);
      while (rows.length() < length) {
        extend(rows, std::min<int64_t>(64, length - rows.length()), 0);
        if (length > 100) extend(other, 64, 0);
      }
      SpanPlan plan;
      plan.clear(2);
      plan.add_run(0, 5);
      plan.add_run(5, 5 + std::max<int64_t>(queries, 1));
      add_paged_spans(plan, 1, rows, 5, queries);
      const QueryRun& run = plan.runs.back();
      for (int64_t q = 0; q < std::max<int64_t>(queries, 1); ++q) {
        std::vector<int64_t> seen, expected;
        for (int32_t s = run.first_span; s < run.first_span + run.spans; ++s) {
          const KeySpan& span = plan.spans[static_cast<size_t>(s)];
          EXPECT_EQ(span.source, 1);
          KeyRange range = visible_keys(span, 5 + q);
          for (int64_t row = range.begin; row < range.end; ++row) seen.push_back(row);
        }
        int64_t last = queries == 0 ? length : length - queries + q + 1;
        for (int64_t t = 0; t < last; ++t) expected.push_back(rows.row(t));
        EXPECT_EQ(seen, expected) << length << " tokens, query " << q << " of " << queries;
      }
    }
  }
  EXPECT_EQ(pool.pages_in_use(), 0);
}

TEST(PagedRows, NeighbouringPagesAreOneSpan) {
  MemoryBudget budget(kEnough);
  PagePool pool(budget, kColumns, 4096);
  PagedRows rows(pool);
  extend(rows, 1000, 0);
  SpanPlan plan;
  plan.clear(1);
  plan.add_run(0, 1);
  add_paged_spans(plan, 0, rows, 0, 0);
  EXPECT_EQ(plan.spans.size(), 1u);
}

TEST(GatheredRows, SequencesBeginAtTiles) {
  MemoryBudget budget(kEnough);
  PagePool pool(budget, kColumns, 4096);
  PagedRows a(pool), b(pool);
  extend(a, 70, 0);
  extend(b, 3, 0);
  GatheredRows gathered;
  EXPECT_EQ(gathered.add(a, 0, 0), 0);
  EXPECT_EQ(gathered.add(b, 5, 2), 128);
  EXPECT_EQ(gathered.add(7, 1), 192);
  EXPECT_EQ(gathered.rows().size(), 193u);
  EXPECT_EQ(gathered.rows()[69], a.row(69));
  EXPECT_EQ(gathered.rows()[70], GatheredRows::kFiller);
  EXPECT_EQ(gathered.rows()[130], b.row(2));
  EXPECT_EQ(gathered.rows()[131], kernels::fresh_row(5));
  EXPECT_EQ(gathered.rows()[132], kernels::fresh_row(6));
  EXPECT_EQ(gathered.rows()[133], GatheredRows::kFiller);
  EXPECT_EQ(gathered.rows()[192], kernels::fresh_row(7));
}

// Sequences that come, grow, branch, shrink and go in any order keep what they hold and leave no page behind.
TEST(PagedRows, RandomHistoriesLeaveNoPageBehind) {
  MemoryBudget budget(16 * 64 * kRowBytes);
  PagePool pool(budget, kColumns, 64 * 64);
  struct Sequence {
    PagedRows rows;
    std::vector<float> values;
  };
  std::vector<Sequence> live;
  Rng rng(3, 0);
  int64_t refused = 0;
  for (int step = 0; step < 10000; ++step) {
    uint32_t what = rng.below(12);
    if (live.empty() || what == 0) live.push_back({PagedRows(pool), {}});
    Sequence& s = live[rng.below(static_cast<uint32_t>(live.size()))];
    if (what < 7) {
      auto count = static_cast<int64_t>(1 + rng.below(150));
      int64_t pages = pool.pages_in_use();
      if (!s.rows.reserve(count)) {
        ++refused;
        ASSERT_EQ(pool.pages_in_use(), pages);
        continue;
      }
      std::vector<int32_t> slots;
      s.rows.append(count, slots);
      auto value = static_cast<float>(step % 250);
      fill(s.rows, s.rows.length() - count, value);
      s.values.insert(s.values.end(), static_cast<size_t>(count), value);
    } else if (what == 7) {
      live.push_back(s);
    } else if (what == 8) {
      auto kept = static_cast<size_t>(rng.below(static_cast<uint32_t>(s.values.size() + 1)));
      s.rows.trim(static_cast<int64_t>(kept));
      s.values.resize(kept);
    } else if (what == 9) {
      refused += s.rows.unshare() ? 0 : 1;
    } else {
      std::swap(s, live.back());
      live.pop_back();
    }
    if (step % 100 != 0) continue;
    for (const Sequence& each : live) {
      ASSERT_EQ(each.rows.length(), static_cast<int64_t>(each.values.size()));
      for (size_t t = 0; t < each.values.size(); ++t) {
        auto at = static_cast<int64_t>(t);
        ASSERT_TRUE(holds(each.rows, at, at + 1, each.values[t])) << "step " << step << ", token " << t;
      }
    }
  }
  EXPECT_GT(refused, 0);
  live.clear();
  EXPECT_EQ(pool.pages_in_use(), 0);
  EXPECT_EQ(budget.used(), 0);
}

}  // namespace
}  // namespace tandem
