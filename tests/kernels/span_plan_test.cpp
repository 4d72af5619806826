#include "kernels/span_plan.h"

#include <gtest/gtest.h>

#include "kernels/span_attention_case.h"
#include "kernels/span_tiles.h"

namespace tandem::testing {
namespace {

// By the definition: query i sees key j of a span when i + shift - window < j <= i + shift.
bool sees(const KeySpan& span, int64_t i, int64_t j) {
  return j >= span.begin && j < span.end && i + span.shift - span.window < j && j <= i + span.shift;
}

int64_t count_pairs(const SpanPlan& plan, int64_t most_keys) {
  int64_t total = 0;
  for (const QueryRun& run : plan.runs) {
    for (int32_t s = 0; s < run.spans; ++s) {
      for (int64_t i = run.begin; i < run.end; ++i) {
        for (int64_t j = 0; j < most_keys; ++j) {
          total += sees(plan.spans[static_cast<size_t>(run.first_span + s)], i, j) ? 1 : 0;
        }
      }
    }
  }
  return total;
}

TEST(SpanPlan, AllowedPairsOfKnownPlans) {
  EXPECT_EQ(causal_case(2, 100).plan.allowed_pairs(), 2 * 5050);
  // A query at position t sees t + 1 keys whatever the blocks are, and one more in the first block.
  EXPECT_EQ(block_case(1, 100, 20).plan.allowed_pairs(), 5050 + 20);
  EXPECT_EQ(decode_case(3, 50, 10).plan.allowed_pairs(), 3 * 50 + 11 + 12 + 13);
}

TEST(SpanPlan, AllowedPairsOfRandomPlans) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    AttentionCase problem = random_case(seed);
    EXPECT_EQ(problem.plan.allowed_pairs(), count_pairs(problem.plan, 210)) << seed;
  }
}

TEST(SpanPlan, EmptySpansAreLeftOut) {
  SpanPlan plan;
  plan.clear(1);
  plan.add_run(0, 4);
  plan.add_span({.begin = 3, .end = 3});
  EXPECT_EQ(plan.runs[0].spans, 0);
  EXPECT_EQ(plan.allowed_pairs(), 0);
}

// Tiles allow exactly the pairs of the plan, each as often as the plan does.
TEST(SpanTiles, HoldThePairsOfThePlan) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    AttentionCase problem = random_case(seed);
    Arena arena;
    kernels::QueryTiles tiles = kernels::make_query_tiles(arena, problem.plan, problem.queries);
    std::vector<std::vector<int>> seen(static_cast<size_t>(problem.queries * problem.plan.sources),
                                       std::vector<int>(210));
    int64_t next = 0;
    for (const cpu::QueryTile& tile : tiles.tiles) {
      EXPECT_EQ(tile.begin, next);
      EXPECT_LE(tile.rows, cpu::kAttentionTile);
      next = tile.begin + tile.rows;
      for (int32_t s = 0; s < tile.spans; ++s) {
        const cpu::TileSpan& span = tiles.spans[static_cast<size_t>(tile.first_span + s)];
        for (int64_t r = 0; r < cpu::kAttentionTile; ++r) {
          for (int64_t j = span.lo[r]; j < span.hi[r]; ++j) {
            ASSERT_LT(r, tile.rows);
            ASSERT_GE(j, span.begin);
            ASSERT_LT(j, span.end);
            ++seen[static_cast<size_t>((tile.begin + r) * problem.plan.sources + span.source)][static_cast<size_t>(j)];
          }
        }
      }
    }
    EXPECT_EQ(next, problem.queries);
    for (const QueryRun& run : problem.plan.runs) {
      for (int64_t i = run.begin; i < run.end; ++i) {
        for (int32_t s = 0; s < run.spans; ++s) {
          const KeySpan& span = problem.plan.spans[static_cast<size_t>(run.first_span + s)];
          for (int64_t j = 0; j < 210; ++j) {
            if (sees(span, i, j)) {
              --seen[static_cast<size_t>(i * problem.plan.sources + span.source)][static_cast<size_t>(j)];
            }
          }
        }
      }
    }
    for (const auto& row : seen) {
      for (int left : row) ASSERT_EQ(left, 0) << seed;
    }
  }
}

TEST(SpanTiles, ShortBlocksShareTiles) {
  AttentionCase problem = block_case(2, 256, 4);
  Arena arena;
  kernels::QueryTiles tiles = kernels::make_query_tiles(arena, problem.plan, problem.queries);
  EXPECT_EQ(tiles.tiles.size(), 8u);
  EXPECT_EQ(tiles.spans.size(), 16u);
}

TEST(SpanTiles, KeyTilesCoverEveryKeyAndNameTheirQueries) {
  AttentionCase problem = block_case(1, 256, 64);
  Arena arena;
  kernels::QueryTiles queries = kernels::make_query_tiles(arena, problem.plan, problem.queries);
  int64_t keys[] = {300, 256};
  auto tiles = kernels::make_key_tiles(arena, queries, keys);
  ASSERT_EQ(tiles.size(), 9u);
  EXPECT_EQ(tiles[4].begin, 256);
  EXPECT_EQ(tiles[4].end, 300);
  EXPECT_EQ(tiles[4].visits, 0);
  EXPECT_EQ(tiles[1].first_tile, 1);  // its own block only
  EXPECT_EQ(tiles[1].last_tile, 2);
  EXPECT_EQ(tiles[6].source, 1);  // encoder keys 64..127: all later blocks
  EXPECT_EQ(tiles[6].first_tile, 2);
  EXPECT_EQ(tiles[6].last_tile, 4);
}

}  // namespace
}  // namespace tandem::testing
