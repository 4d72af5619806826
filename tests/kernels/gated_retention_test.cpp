// Gated retention against its reference, which takes one token after the other.
#include "kernels/gated_retention.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

constexpr double kScale = 0.3;

// Sequences one after the other, with all that a pass over them reads and writes.
struct RetentionPass {
  std::vector<int64_t> lengths;
  RetentionPlan plan;
  Guarded q, k, v, decay, states, o, d_o, dq, dk, dv, d_decay;

  static int64_t total(const std::vector<int64_t>& lengths) {
    int64_t sum = 0;
    for (int64_t length : lengths) sum += length;
    return sum;
  }
  static int64_t tiles(const std::vector<int64_t>& lengths) {
    int64_t count = 0;
    for (int64_t length : lengths) count += (length + kRetentionTile - 1) / kRetentionTile;
    return count;
  }

  RetentionPass(DType dtype, DType wide, const std::vector<int64_t>& sequences, int64_t heads, int64_t size,
                int64_t gap = 0)
      : lengths(sequences),
        q(dtype, {total(sequences), heads, size}, heads * size + gap),
        k(dtype, {total(sequences), heads, size}, heads * size + 2 * gap),
        v(dtype, {total(sequences), heads, size}, heads * size + gap),
        decay(wide, {total(sequences), heads}, heads + gap),
        states(wide, {tiles(sequences), heads, size * size + 4}),
        o(dtype, {total(sequences), heads, size}, heads * size + gap),
        d_o(dtype, {total(sequences), heads, size}),
        dq(dtype, {total(sequences), heads, size}, heads * size + gap),
        dk(dtype, {total(sequences), heads, size}),
        dv(dtype, {total(sequences), heads, size}),
        d_decay(wide, {total(sequences), heads}) {
    plan.clear(QueryOrder::by_tile);
    int64_t begin = 0;
    for (int64_t length : lengths) {
      plan.add_sequence(begin, begin + length);
      begin += length;
    }
    q.fill_normal(1);
    k.fill_normal(2);
    v.fill_normal(3);
    d_o.fill_normal(4);
    Rng rng(5, 0);
    // Mostly near 0, now and then a token that forgets nearly everything.
    decay.set([&](int64_t, int64_t) { return -0.2 * rng.uniform() * (rng.below(20) == 0 ? 40 : 1); });
  }
  // The same numbers in double; with `magnitudes`, absolute ones.
  RetentionPass(const RetentionPass& from, bool magnitudes)
      : RetentionPass(DType::f64, DType::f64, from.lengths, from.q.tensor().shape[1], from.q.tensor().shape[2]) {
    decay.copy(from.decay);
    for (auto [to, x] : {std::pair{&q, &from.q}, {&k, &from.k}, {&v, &from.v}, {&d_o, &from.d_o}}) {
      to->set([&, source = x](int64_t t, int64_t i) {
        double value = load_element(*source, t, i);
        return magnitudes ? std::abs(value) : value;
      });
    }
  }

  void forward(Context& ctx) { kernels::gated_retention_forward(ctx, o, q, k, v, decay, states, plan, kScale); }
  void run(Context& ctx) {
    forward(ctx);
    kernels::gated_retention_backward(ctx, dq, dk, dv, d_decay, d_o, q, k, v, decay, states, plan, kScale);
  }
  bool intact() const {
    return o.intact() && states.intact() && dq.intact() && dk.intact() && dv.intact() && d_decay.intact();
  }
  // Relative error of a sum of products: its terms go through sums over features and over the tokens of a tile, twice
  // (scores, then values), once per tile that a state has passed; decays are off by the rounding of the sums of their
  // logarithms, and by the exponential's few units.
  double roundings() const {
    double worst = 0;
    int64_t head_count = decay.tensor().row_size();
    for (const RetentionTile& tile : plan.tiles) {
      for (int64_t h = 0; h < head_count; ++h) {
        double sum = 0;
        for (int64_t t = 0; t < tile.tokens; ++t) sum += std::abs(load_element(decay, tile.keys + t, h));
        worst = std::max(worst, sum);
      }
    }
    int64_t longest = *std::max_element(lengths.begin(), lengths.end());
    auto passed = static_cast<double>((longest + kRetentionTile - 1) / kRetentionTile);
    auto features = static_cast<double>(q.tensor().shape[2]);
    double tile = static_cast<double>(kRetentionTile);
    return (passed + 1) * (features + tile + tile * worst + 16) * kUnit;
  }
};

void check(DType dtype, const std::vector<int64_t>& lengths, int64_t heads, int64_t size, int64_t gap = 0) {
  SCOPED_TRACE(::testing::Message() << dtype_name(dtype) << ", " << lengths.size() << " sequences, first of "
                                    << lengths[0] << ", " << heads << " heads of " << size);
  RetentionPass fast(dtype, DType::f32, lengths, heads, size, gap), reference(fast, false), sizes(fast, true);
  fast.run(context());
  reference.run(context());
  sizes.run(context());  // sums of the magnitudes of the terms
  double relative = fast.roundings();
  auto bound = [&](const Tensor& magnitudes) {
    return [&, relative](int64_t t, int64_t i) { return relative * load_element(magnitudes, t, i); };
  };
  expect_close(fast.o, reference.o, "o", bound(sizes.o));
  expect_close(fast.dq, reference.dq, "dq", bound(sizes.dq));
  expect_close(fast.dk, reference.dk, "dk", bound(sizes.dk));
  expect_close(fast.dv, reference.dv, "dv", bound(sizes.dv));
  // A decay's gradient is a sum of q . dq - k . dk over the tokens behind it, those of later tiles included.
  Guarded terms(DType::f64, sizes.d_decay.tensor().shape);
  int64_t end = 0;
  for (int64_t length : lengths) {
    end += length;
    for (int64_t h = 0; h < heads; ++h) {
      double sum = 0;
      for (int64_t t = end - 1; t >= end - length; --t) {
        for (int64_t i = h * size; i < (h + 1) * size; ++i) {
          sum += load_element(sizes.q, t, i) * load_element(sizes.dq, t, i) +
                 load_element(sizes.k, t, i) * load_element(sizes.dk, t, i);
        }
        store_element(terms, t, h, 2 * sum);
      }
    }
  }
  expect_close(fast.d_decay, reference.d_decay, "d_decay", bound(terms));
  EXPECT_TRUE(fast.intact());
}

TEST(GatedRetention, ForwardAndBackward) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    check(dtype, {1}, 1, 2);
    check(dtype, {5, 64, 1, 63}, 3, 16);
    check(dtype, {65, 200}, 2, 10, 3);
    check(dtype, {130}, 1, 64);
    check(dtype, {70}, 2, 96, 1);
  }
  check(DType::f32, {66}, 1, 256);
}

TEST(GatedRetention, SameBitsForAnyNumberOfThreads) {
  RetentionPass one(DType::f32, DType::f32, {100, 70, 3}, 3, 24);
  one.run(context(1));
  for (int threads : {2, 3}) {
    RetentionPass more(DType::f32, DType::f32, {100, 70, 3}, 3, 24);
    more.run(context(threads));
    EXPECT_TRUE(same_bits(one.o, more.o) && same_bits(one.dq, more.dq) && same_bits(one.dk, more.dk) &&
                same_bits(one.dv, more.dv) && same_bits(one.d_decay, more.d_decay));
  }
}

// The pass that computes tokens [begin, end) of the only sequence, with the states of its tiles in place.
RetentionPlan pass_over(int64_t begin, int64_t end, QueryOrder order) {
  RetentionPlan plan;
  plan.clear(order);
  plan.begin_sequence();
  for (int64_t tile = begin / kRetentionTile; tile * kRetentionTile < end; ++tile) {
    int64_t first = tile * kRetentionTile, from = std::max(begin, first);
    int64_t to = std::min(end, first + kRetentionTile);
    plan.tiles.push_back({.keys = first,
                          .tokens = to - first,
                          .query_row = from,
                          .first_query = from - first,
                          .queries = to - from,
                          .before = tile == 0 ? RetentionTile::kNone : tile,
                          .behind = to == first + kRetentionTile ? tile + 1 : RetentionTile::kNone});
  }
  return plan;
}

TEST(GatedRetention, BitsDoNotDependOnHowASequenceIsCut) {
  constexpr int64_t kTokens = 150;
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (QueryOrder order : {QueryOrder::by_tile, QueryOrder::by_query}) {
      RetentionPass whole(dtype, DType::f32, {kTokens}, 2, 24);
      whole.plan = pass_over(0, kTokens, order);
      whole.forward(context());
      for (std::vector<int64_t> cuts :
           {std::vector<int64_t>{0, 1, 2, 3, 150}, {0, 63, 64, 65, 150}, {0, 64, 128, 150}, {0, 40, 100, 149, 150}}) {
        RetentionPass cut(dtype, DType::f32, {kTokens}, 2, 24);
        for (size_t i = 0; i + 1 < cuts.size(); ++i) {
          cut.plan = pass_over(cuts[i], cuts[i + 1], order);
          cut.forward(context());
        }
        EXPECT_TRUE(same_bits(cut.o, whole.o)) << dtype_name(dtype) << ", second piece from " << cuts[1];
        EXPECT_TRUE(same_bits(cut.states.tensor().slice_rows(1, 3), whole.states.tensor().slice_rows(1, 3)));
      }
    }
  }
}

TEST(GatedRetention, QueryByQueryIsTheSameFunction) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    RetentionPass fast(dtype, DType::f32, {150}, 2, 40), reference(fast, false), sizes(fast, true);
    fast.plan = pass_over(0, 150, QueryOrder::by_query);
    fast.forward(context());
    reference.forward(context());
    sizes.forward(context());
    double relative = fast.roundings();
    expect_close(fast.o, reference.o, "o",
                 [&](int64_t t, int64_t i) { return relative * load_element(sizes.o, t, i); });
  }
}

// Two tokens by hand.
TEST(GatedRetentionReference, IsItsFormula) {
  RetentionPass run(DType::f64, DType::f64, {2}, 1, 2);
  auto set = [](Guarded& t, std::vector<double> values) {
    t.set([&](int64_t row, int64_t i) { return values[static_cast<size_t>(2 * row + i)]; });
  };
  set(run.q, {1, 2, 3, -1});
  set(run.k, {1, 0, 2, 1});
  set(run.v, {5, 7, -1, 4});
  run.decay.set([](int64_t t, int64_t) { return t == 0 ? -9.0 : std::log(0.5); });
  run.forward(context());
  // S_1 = 0.3 [5 7; 0 0], S_2 = S_1 / 2 + 0.3 [-2 8; -1 4]
  double s[2][2] = {{0.3 * (2.5 - 2), 0.3 * (3.5 + 8)}, {-0.3, 1.2}};
  EXPECT_NEAR(load_element(run.o, 0, 0), 1.5, 1e-15);
  EXPECT_NEAR(load_element(run.o, 0, 1), 2.1, 1e-15);
  EXPECT_NEAR(load_element(run.o, 1, 0), 3 * s[0][0] - s[1][0], 1e-14);
  EXPECT_NEAR(load_element(run.o, 1, 1), 3 * s[0][1] - s[1][1], 1e-14);
}

TEST(GatedRetention, RefusesOperandsThatDoNotFit) {
  RetentionPass run(DType::f32, DType::f32, {70}, 2, 6);
  run.plan.tiles[1].before = 9;
  EXPECT_THROW(run.forward(context()), LogicError);
  RetentionPass longer(DType::f32, DType::f32, {70}, 2, 6);
  longer.plan.tiles[1].tokens = 7;
  EXPECT_THROW(longer.forward(context()), LogicError);
}

TEST(LogDecay, IsALogSigmoid) {
  std::vector<float> values{-200, -20, -1, 0, 1, 20, 200};
  int64_t n = static_cast<int64_t>(values.size());
  Tensor x(values.data(), DType::f32, {n, 1});
  Guarded y(DType::f32, {n, 1}), one(DType::f32, {n, 1}), dx(DType::f32, {n, 1});
  one.fill(1);
  kernels::log_decay_forward(context(), y, x, 16);
  kernels::log_decay_backward(context(), dx, one, x, 16);
  for (int64_t i = 0; i < n; ++i) {
    double v = values[static_cast<size_t>(i)], expected = -std::log1p(std::exp(-v)) / 16;
    EXPECT_NEAR(load_element(y, i, 0), expected, kUnit * std::abs(expected) + kSmallest) << v;
    double slope = 1 / (1 + std::exp(v)) / 16;
    EXPECT_NEAR(load_element(dx, i, 0), slope, kUnit * slope + kSmallest) << v;
  }
  EXPECT_TRUE(y.intact() && dx.intact());
}

}  // namespace
}  // namespace tandem::testing
