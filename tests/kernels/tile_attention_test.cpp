// Span attention by tiles (kernels/cpu/tile_attention.h): on emulated tiles wherever AVX-512 BF16 is, and on the
// processor's own where it has them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/cpu/kernels.h"
#include "kernels/emulated_tiles.h"
#include "kernels/isa/tile_probe.h"
#include "kernels/span_attention_case.h"

namespace tandem::testing {
namespace {

using cpu::SpanAttentionKernels;

const SpanAttentionKernels& vectors() { return cpu::table(Isa::avx512_bf16).span_attention; }

const SpanAttentionKernels& emulated() {
  static const SpanAttentionKernels kernels = cpu::avx512_bf16::with_emulated_tiles(vectors());
  return kernels;
}

// The same, and every call, on whatever thread, finds and leaves the tiles released. It works in NaNs, exactly as many
// as are asked for.
const SpanAttentionKernels& watched() {
  static const SpanAttentionKernels kernels = [] {
    SpanAttentionKernels all = emulated();
    all.bf16.forward = [](const cpu::AttentionForwardTile& tile) {
      Guarded memory(DType::f32, {1, emulated().forward_workspace(tile.rows.shape.head_size)});
      cpu::AttentionForwardTile own = tile;
      own.rows.workspace = memory.tensor().as<float>();
      EXPECT_FALSE(EmulatedTiles::configured());
      emulated().bf16.forward(own);
      EXPECT_FALSE(EmulatedTiles::configured());
      EXPECT_TRUE(memory.intact());
    };
    all.bf16.backward = [](const cpu::AttentionBackwardTile& tile) {
      Guarded memory(DType::f32, {1, emulated().backward_workspace(tile.shape.head_size)});
      cpu::AttentionBackwardTile own = tile;
      own.workspace = memory.tensor().as<float>();
      EXPECT_FALSE(EmulatedTiles::configured());
      emulated().bf16.backward(own);
      EXPECT_FALSE(EmulatedTiles::configured());
      EXPECT_TRUE(memory.intact());
    };
    return all;
  }();
  return kernels;
}

// Operands are packed into NaNs, not into what a call before left there.
void spoil_scratch(Context& ctx) {
  constexpr size_t kBytes = 16 << 20;
  ArenaScope scope(ctx.scratch());
  std::memset(ctx.scratch().allocate(kBytes), 0xFF, kBytes);
}

int64_t multiplied() { return EmulatedTiles::counts().multiplied; }

class TileAttention : public ::testing::Test {
 protected:
  void SetUp() override {
    if (context().isa() < Isa::avx512_bf16) GTEST_SKIP() << "operands are packed for tiles with AVX-512 BF16";
  }

  static void check_all(AttentionCase problem, int64_t heads, int64_t key_heads, int64_t head_size,
                        bool by_source = false, DType gradients = DType::f32) {
    SCOPED_TRACE(::testing::Message() << "head size " << head_size);
    problem.heads = heads;
    problem.key_heads = key_heads;
    problem.head_size = head_size;
    problem.scale = 1 / std::sqrt(static_cast<double>(head_size));
    check(problem, by_source, gradients);
  }
  static void check(AttentionCase problem, bool by_source, DType gradients = DType::f32, uint64_t seed = 1) {
    problem.plan.order = QueryOrder::by_tile;
    spoil_scratch(context());
    check_attention(problem, DType::bf16, gradients, by_source, seed, &watched());
  }
};

TEST_F(TileAttention, Causal) {
  check_all(causal_case(1, 150), 2, 2, 64);
  check_all(causal_case(3, 47), 1, 1, 32);
}

TEST_F(TileAttention, EveryHeadSize) {
  for (int64_t size : {32, 64, 96, 128, 160, 224, 256}) check_all(causal_case(1, 70), 1, 1, size);
}

TEST_F(TileAttention, RoundedGradients) {
  for (int64_t size : {32, 64, 96, 128}) check_all(causal_case(1, 70), 2, 1, size, false, DType::bf16);
  check_all(block_case(2, 70, 30), 1, 1, 64, true, DType::bf16);
}

TEST_F(TileAttention, OtherHeadSizesAreForVectors) {
  Context& ctx = context(1);
  for (int64_t size : {2, 16, 24, 34, 48, 80}) {
    AttentionCase problem = causal_case(1, 70);
    problem.head_size = size;
    const int64_t before = multiplied();
    AttentionRun tiles(problem, DType::bf16, DType::f32, 1, false), own(problem, DType::bf16, DType::f32, 1, false);
    tiles.by = &watched();
    own.by = &vectors();
    for (AttentionRun* run : {&tiles, &own}) {
      run->source_lse.fill(0);
      run->forward(ctx);
      run->backward(ctx);
    }
    EXPECT_TRUE(tiles.same_results(own)) << size;
    EXPECT_EQ(multiplied(), before) << size;
  }
}

TEST_F(TileAttention, AwkwardLengths) {
  for (int64_t length : {1, 2, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64, 65, 97, 129}) {
    check_all(causal_case(1, length), 1, 1, 32);
  }
}

TEST_F(TileAttention, PlansOfEveryFamily) {
  check_plan_families(32, 64, [](const auto&... c) { check_all(c...); });
  check_all(block_case(1, 140, 30), 1, 1, 64);
}

TEST_F(TileAttention, FewQueries) {
  for (int64_t queries : {1, 3, 20}) {
    for (int64_t own : {0, 17, 130}) check_all(decode_case(queries, 150, own), 2, 1, 32);
  }
  check_all(batch_decode_case(9, 150), 2, 2, 32, true);
}

TEST_F(TileAttention, RandomPlans) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    AttentionCase problem = random_case(seed);
    problem.head_size = 32;
    check(problem, seed % 2 == 0, seed % 3 == 0 ? DType::bf16 : DType::f32, seed);
  }
}

TEST_F(TileAttention, LargeScores) {
  AttentionCase problem = causal_case(1, 90);
  problem.head_size = 32;
  problem.scale = 6;  // scores of a hundred and more: the softmax is one key
  check(problem, false);
}

TEST_F(TileAttention, Accumulates) {
  AttentionCase problem = block_case(1, 100, 30);
  problem.head_size = 32;
  AttentionRun once(problem, DType::bf16, DType::f32, 4, false), twice(problem, DType::bf16, DType::f32, 4, false);
  for (AttentionRun* run : {&once, &twice}) {
    run->by = &watched();
    run->forward(context());
  }
  once.backward(context());
  for (auto* all : {&twice.dk, &twice.dv}) {
    for (Guarded& gradient : *all) gradient.fill(1.5);
  }
  twice.backward(context(), true);
  for (size_t s = 0; s < 2; ++s) {
    Guarded dk(DType::f32, once.dk[s].tensor().shape);
    dk.set([&](int64_t r, int64_t i) { return 1.5f + load_element(once.dk[s], r, i); });
    EXPECT_TRUE(same_bits(twice.dk[s], dk));
  }
}

TEST_F(TileAttention, SameBitsForAnyNumberOfThreads) {
  for (AttentionCase problem : {block_case(1, 300, 50), causal_case(3, 100)}) {
    problem.heads = 2;
    problem.head_size = 32;
    auto run = [&](int threads) {
      auto out = std::make_unique<AttentionRun>(problem, DType::bf16, DType::bf16, 9, false);
      out->by = &watched();
      out->source_lse.fill(0);
      spoil_scratch(context(threads));
      out->forward(context(threads));
      out->backward(context(threads));
      return out;
    };
    auto one = run(1);
    for (int threads : {2, 3}) EXPECT_TRUE(one->same_results(*run(threads))) << threads << " threads";
  }
}

// How queries fall into tiles, and so which columns a group of them begins and ends with, must not change a bit: the
// same queries alone, and behind others.
TEST_F(TileAttention, SameBitsHoweverQueriesAreTiled) {
  constexpr int64_t kQueries = 90, kKeys = 120, kHeads = 16;  // enough heads for one slice of keys each
  auto behind = [&](int64_t others, int64_t window) {
    AttentionCase problem;
    problem.queries = others + kQueries;
    problem.keys = {kKeys};
    problem.heads = problem.key_heads = kHeads;
    problem.head_size = 32;
    problem.plan.order = QueryOrder::by_tile;
    if (others > 0) {
      problem.plan.add_run(0, others);
      problem.plan.add_span({.begin = 0, .end = 40});
    }
    problem.plan.add_run(others, others + kQueries);
    problem.plan.add_span({.begin = 3, .end = kKeys, .shift = 25 - others, .window = window});
    return problem;
  };
  for (int64_t window : {int64_t{1}, int64_t{21}, 2 * KeySpan::kNoLimit}) {
    AttentionRun alone(behind(0, window), DType::bf16, DType::f32, 3, false);
    alone.by = &watched();
    alone.forward(context());
    alone.backward(context());
    for (int64_t others : {5, 16, 27, 70}) {
      SCOPED_TRACE(::testing::Message() << "window " << window << ", behind " << others);
      AttentionRun run(behind(others, window), DType::bf16, DType::f32, 3, false);
      run.by = &watched();
      run.k[0].copy(alone.k[0]);
      run.v[0].copy(alone.v[0]);
      for (auto [to, from] : {std::pair{&run.q, &alone.q}, {&run.d_o, &alone.d_o}}) {
        for (int64_t t = 0; t < kQueries; ++t) {
          for (int64_t i = 0; i < to->tensor().row_size(); ++i) {
            store_element(*to, others + t, i, load_element(*from, t, i));
          }
        }
      }
      spoil_scratch(context());
      run.forward(context());
      run.backward(context());
      EXPECT_TRUE(same_bits(run.o.tensor().slice_rows(others, others + kQueries), alone.o));
      EXPECT_TRUE(same_bits(run.lse.tensor().slice_columns(others, others + kQueries), alone.lse));
      EXPECT_TRUE(same_bits(run.dq.tensor().slice_rows(others, others + kQueries), alone.dq));
    }
  }
}

// What is computed is what groups of 32 rows and steps of 32 leave of the plan, with a load for each multiplication.
TEST_F(TileAttention, MultipliesWhatIsSeen) {
  struct Counts {
    EmulatedTiles::Counts forward, backward;
  };
  auto since = [](const EmulatedTiles::Counts& before) {
    const EmulatedTiles::Counts& now = EmulatedTiles::counts();
    return EmulatedTiles::Counts{now.configured - before.configured, now.loads - before.loads,
                                 now.stores - before.stores, now.multiplied - before.multiplied};
  };
  auto count = [&](AttentionCase problem) {
    problem.head_size = 64;
    problem.plan.order = QueryOrder::by_tile;
    AttentionRun run(problem, DType::bf16, DType::bf16, 1, false);
    run.by = &watched();
    Counts counts;
    EmulatedTiles::Counts before = EmulatedTiles::counts();
    run.forward(context(1));
    counts.forward = since(before);
    before = EmulatedTiles::counts();
    run.backward(context(1));
    counts.backward = since(before);
    return counts;
  };
  AttentionCase all;
  all.queries = 128;
  all.keys = {128};
  all.plan.add_run(0, 128);
  all.plan.add_span({.begin = 0, .end = 128});
  // Four pairs of tiles; a product of 64 x 64 x 64 is 4 x 4 x 2 multiplications and gives 16 tiles of sums.
  constexpr int64_t kPairs = 4, kProduct = 32, kTiles = 16;
  Counts counts = count(all);
  EXPECT_EQ(counts.forward.multiplied, kPairs * 2 * kProduct);
  EXPECT_EQ(counts.forward.loads, kPairs * (2 * kProduct + kTiles));
  EXPECT_EQ(counts.forward.stores, kPairs * 2 * kTiles);
  EXPECT_EQ(counts.forward.configured, 2);
  EXPECT_EQ(counts.backward.multiplied, kPairs * 5 * kProduct);
  EXPECT_EQ(counts.backward.loads, kPairs * (5 * kProduct + 3 * kTiles));
  EXPECT_EQ(counts.backward.stores, kPairs * 5 * kTiles);
  EXPECT_EQ(counts.backward.configured, 2);

  // On the diagonal each product of a group of 32 and its own 32 is a quarter, and one quarter is not seen; gradients
  // of queries are added whole.
  constexpr int64_t kQuarter = kProduct / 4;
  counts = count(causal_case(1, 64));
  EXPECT_EQ(counts.forward.multiplied, 2 * 3 * kQuarter);
  EXPECT_EQ(counts.backward.multiplied, 4 * 3 * kQuarter + kProduct);
}

TEST_F(TileAttention, TheProcessorGivesTheBitsOfTheEmulation) {
  if (context().isa() != Isa::amx) GTEST_SKIP() << "this machine has no tiles";
  for (AttentionCase problem : {causal_case(2, 150), block_case(2, 140, 30), window_case(2, 130, 20)}) {
    for (int64_t size : {32, 64, 96, 128}) {
      problem.head_size = size;
      problem.plan.order = QueryOrder::by_tile;
      AttentionRun own(problem, DType::bf16, DType::f32, 3, true), want(problem, DType::bf16, DType::f32, 3, true);
      want.by = &watched();
      for (AttentionRun* run : {&own, &want}) {
        run->forward(context());
        run->backward(context());
      }
      EXPECT_TRUE(own.same_results(want)) << "head size " << size;
    }
  }
}

}  // namespace
}  // namespace tandem::testing
