// Span attention against its double-precision reference on the instruction set of this run (TANDEM_ISA), within bounds
// computed from the operands; the reference's gradient against finite differences.
#include "kernels/span_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/span_attention_case.h"

namespace tandem::testing {
namespace {

struct Types {
  DType values;
  DType gradients;
};

class Attention : public ::testing::TestWithParam<Types> {
 protected:
  static void check_all(AttentionCase problem, int64_t heads, int64_t key_heads, int64_t head_size,
                        bool by_source = false) {
    problem.heads = heads;
    problem.key_heads = key_heads;
    problem.head_size = head_size;
    problem.scale = 1 / std::sqrt(static_cast<double>(head_size));
    check_attention(problem, GetParam().values, GetParam().gradients, by_source);
  }
};

INSTANTIATE_TEST_SUITE_P(Types, Attention,
                         ::testing::Values(Types{DType::f32, DType::f32}, Types{DType::bf16, DType::f32},
                                           Types{DType::bf16, DType::bf16}),
                         [](const auto& types) {
                           return types.param.values == DType::f32      ? "f32"
                                  : types.param.gradients == DType::f32 ? "bf16_to_f32"
                                                                        : "bf16";
                         });

TEST_P(Attention, Causal) {
  check_all(causal_case(1, 150), 2, 2, 64);
  check_all(causal_case(3, 47), 1, 1, 32);
}

TEST_P(Attention, EveryHeadSize) {
  for (int64_t size : {2, 6, 8, 16, 24, 34, 40, 80, 128, 256}) check_all(causal_case(1, 70), 1, 1, size);
}

TEST_P(Attention, AwkwardLengths) {
  for (int64_t length : kAwkwardSizes) check_all(causal_case(1, length), 1, 1, 16);
}

TEST_P(Attention, PlansOfEveryFamily) {
  check_plan_families(16, 24, [&](const auto&... c) { check_all(c...); });
}

TEST_P(Attention, FewQueries) {
  for (int64_t queries : {1, 3, 20}) {
    for (int64_t own : {0, 17, 130}) check_all(decode_case(queries, 150, own), 4, 2, 64);
  }
}

TEST_P(Attention, FewQueriesOfEveryHeadSize) {
  for (int64_t size : {2, 24, 40, 80, 128, 256}) {
    check_all(decode_case(1, 70, 33), 3, 1, size);
    check_all(decode_case(1, 20, 5), 1, 1, size, true);
  }
}

TEST_P(Attention, OneQueryForEachCache) {
  check_all(batch_decode_case(9, 150), 2, 2, 32);
  check_all(batch_decode_case(3, 20), 2, 1, 16, true);
}

TEST_P(Attention, RandomPlans) {
  for (uint64_t seed = 0; seed < 24; ++seed) {
    SCOPED_TRACE(seed);
    AttentionCase problem = random_case(seed);
    check_attention(problem, GetParam().values, GetParam().gradients, seed % 2 == 0, seed);
  }
}

TEST_P(Attention, LargeScores) {
  AttentionCase problem = causal_case(1, 90);
  problem.head_size = 32;
  problem.scale = 6;  // scores of a hundred and more: the softmax is one key
  check_attention(problem, GetParam().values, GetParam().gradients, false);
  problem.scale = -0.2;  // the running maximum must be of the scaled scores
  AttentionRun fast(problem, DType::f32, DType::f32, 5, false), reference(fast, DType::f64, DType::f64);
  fast.forward(context());
  reference.forward(context());
  expect_close(fast.lse, reference.lse, "lse", [](int64_t, int64_t) { return 1e-5; });
}

// Where a cache's tiles lie must not change a bit: spans of tiles one behind the other, and the same tiles apart.
TEST_P(Attention, SameBitsWhereverTheTilesLie) {
  constexpr int64_t kTiles = 9, kTile = 64, kLength = kTiles * kTile - 20;
  AttentionCase together, apart;
  for (AttentionCase* problem : {&together, &apart}) {
    problem->queries = 1;
    problem->keys = {2 * kTiles * kTile};
    problem->heads = 4;
    problem->key_heads = 2;
    problem->head_size = 64;
    problem->scale = 0.125;
    problem->plan.clear(1);
    problem->plan.order = QueryOrder::by_query;
    problem->plan.add_run(0, 1);
  }
  together.plan.add_span({.begin = 30, .end = kLength});
  for (int64_t t = 0; t < kTiles; ++t) {
    int64_t row = (2 * t + 1) * kTile;
    apart.plan.add_span({.begin = row + (t == 0 ? 30 : 0), .end = row + std::min(kTile, kLength - t * kTile)});
  }
  AttentionRun a(together, GetParam().values, GetParam().gradients, 3, false);
  AttentionRun b(apart, GetParam().values, GetParam().gradients, 3, false);
  for (int64_t t = 0; t < kLength; ++t) {
    int64_t row = (2 * (t / kTile) + 1) * kTile + t % kTile;
    for (int64_t i = 0; i < a.k[0].tensor().row_size(); ++i) {
      store_element(b.k[0], row, i, load_element(a.k[0], t, i));
      store_element(b.v[0], row, i, load_element(a.v[0], t, i));
    }
  }
  for (int64_t i = 0; i < a.q.tensor().row_size(); ++i) store_element(b.q, 0, i, load_element(a.q, 0, i));
  a.forward(context(1));
  b.forward(context(3));
  for (int64_t i = 0; i < a.o.tensor().row_size(); ++i) {
    ASSERT_EQ(load_element(a.o, 0, i), load_element(b.o, 0, i)) << i;
  }
  for (int64_t h = 0; h < 4; ++h) ASSERT_EQ(load_element(a.lse, h, 0), load_element(b.lse, h, 0)) << h;
}

TEST_P(Attention, SameBitsForAnyNumberOfThreads) {
  for (AttentionCase problem : {block_case(1, 700, 50), causal_case(3, 100)}) {
    problem.heads = 2;
    problem.head_size = 16;
    AttentionRun one(problem, GetParam().values, GetParam().gradients, 9, false);
    one.source_lse.fill(0);
    one.forward(context(1));
    one.backward(context(1));
    for (int threads : {2, 3}) {
      AttentionRun more(problem, GetParam().values, GetParam().gradients, 9, false);
      more.source_lse.fill(0);
      more.forward(context(threads));
      more.backward(context(threads));
      EXPECT_TRUE(one.same_results(more)) << threads << " threads";
    }
  }
}

TEST(AttentionGradients, Accumulate) {
  AttentionCase problem = block_case(1, 100, 30);
  problem.keys[0] += 70;  // keys that nobody sees
  AttentionRun once(problem, DType::f32, DType::f32, 4, false), twice(problem, DType::f32, DType::f32, 4, false);
  once.forward(context());
  once.backward(context());
  twice.forward(context());
  for (auto* all : {&twice.dk, &twice.dv}) {
    for (Guarded& gradient : *all) gradient.fill(1.5);
  }
  twice.backward(context(), true);
  for (size_t s = 0; s < 2; ++s) {
    auto added = [](Guarded& gradient) {
      return [&gradient](int64_t r, int64_t i) { return 1.5f + load_element(gradient, r, i); };
    };
    Guarded dk(DType::f32, once.dk[s].tensor().shape), dv(DType::f32, once.dv[s].tensor().shape);
    dk.set(added(once.dk[s]));
    dv.set(added(once.dv[s]));
    EXPECT_TRUE(same_bits(twice.dk[s], dk));
    EXPECT_TRUE(same_bits(twice.dv[s], dv));
  }
  EXPECT_EQ(load_element(once.dk[0], 169, 3), 0.0);
}

// The gradient of L = sum(w_o * o) + sum(w_lse * source_lse) in the reference against central differences with step h:
// these err by h^2 of the third derivative, here far below 1e-6 of the largest gradient, plus 1e-16 / h.
TEST(AttentionReference, GradientMatchesFiniteDifferences) {
  AttentionCase problem = block_case(1, 11, 4);
  problem.heads = 2;
  problem.head_size = 4;
  problem.scale = 0.5;
  AttentionRun run(problem, DType::f64, DType::f64, 3, true);
  run.forward(context());
  run.backward(context());
  auto loss = [&] {
    AttentionRun at(run, DType::f64, DType::f64);
    at.forward(context());
    double sum = 0;
    for (int64_t t = 0; t < problem.queries; ++t) {
      for (int64_t i = 0; i < 8; ++i) sum += load_element(at.o, t, i) * load_element(at.d_o, t, i);
    }
    for (int64_t s = 0; s < 2; ++s) {
      for (int64_t i = 0; i < 2 * problem.queries; ++i) {
        sum += load_element(at.source_lse, s, i) * load_element(at.d_source_lse, s, i);
      }
    }
    return sum;
  };
  auto compare = [&](const Tensor& x, const Tensor& gradient, const char* what) {
    constexpr double kStep = 1e-4;
    for (int64_t r = 0; r < x.rows(); r += 3) {
      for (int64_t i = 0; i < x.row_size(); ++i) {
        double before = load_element(x, r, i);
        store_element(x, r, i, before + kStep);
        double up = loss();
        store_element(x, r, i, before - kStep);
        double down = loss();
        store_element(x, r, i, before);
        EXPECT_NEAR(load_element(gradient, r, i), (up - down) / (2 * kStep), 2e-7) << what << " " << r << ", " << i;
      }
    }
  };
  compare(run.q, run.dq, "q");
  for (size_t s = 0; s < 2; ++s) {
    compare(run.k[s], run.dk[s], "k");
    compare(run.v[s], run.dv[s], "v");
  }
}

TEST(AttentionChecks, WrongPlansAreRefused) {
  AttentionCase problem = causal_case(1, 20);
  problem.plan.runs[0].end = 19;
  AttentionRun short_run(problem, DType::f32, DType::f32, 1, false);
  EXPECT_THROW(short_run.forward(context()), LogicError);
  problem = causal_case(1, 20);
  problem.plan.spans[0].end = 21;
  AttentionRun long_span(problem, DType::f32, DType::f32, 1, false);
  EXPECT_THROW(long_span.forward(context()), LogicError);
  problem = causal_case(1, 20);
  problem.head_size = 9;
  AttentionRun odd(problem, DType::f32, DType::f32, 1, false);
  EXPECT_THROW(odd.forward(context()), LogicError);
}

}  // namespace
}  // namespace tandem::testing
