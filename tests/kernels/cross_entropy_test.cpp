#include "kernels/cross_entropy.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

using kernels::kIgnoredLabel;

struct Case {
  int64_t rows, vocabulary;
  DType gradient;
  double multiplier, scale;  // exact in f32, so that both sides see the same
};

struct Row {
  double largest;        // of multiplier * logit
  double mean_distance;  // sum of p |z - largest|
  double lse;
};

Row measure(const Tensor& logits, int64_t t, double multiplier) {
  Row row{-INFINITY, 0, 0};
  for (int64_t v = 0; v < logits.row_size(); ++v) {
    row.largest = std::max(row.largest, multiplier * load_element(logits, t, v));
  }
  double total = 0;
  for (int64_t v = 0; v < logits.row_size(); ++v) {
    double distance = row.largest - multiplier * load_element(logits, t, v);
    total += std::exp(-distance);
    row.mean_distance += std::exp(-distance) * distance;
  }
  row.mean_distance /= total;
  row.lse = row.largest + std::log(total);
  return row;
}

// A term exp(z - largest) carries two roundings of its exponent, magnified by the distance, and four of its own; sums
// run over at most 1024 / 8 terms before they are widened.
double sum_error(const Row& row) { return (2 * row.mean_distance + 6 + sum_path(1024)) * kUnit; }

void check(const Case& c) {
  SCOPED_TRACE(::testing::Message() << c.rows << " x " << c.vocabulary << ", " << dtype_name(c.gradient)
                                    << ", multiplier " << c.multiplier);
  Guarded logits(DType::f32, {c.rows, c.vocabulary}, c.vocabulary + 3);
  Guarded gradient(c.gradient, {c.rows, c.vocabulary}, c.vocabulary + 5);
  logits.fill_normal(1, 3);
  std::vector<int32_t> labels, best(static_cast<size_t>(c.rows)), best64(best);
  for (int64_t t = 0; t < c.rows; ++t) {
    labels.push_back(t == 1 ? kIgnoredLabel : static_cast<int32_t>(t * 7919 % c.vocabulary));
  }
  Guarded loss(DType::f32, {c.rows}), alone(DType::f32, {c.rows}), loss64(DType::f64, {c.rows});
  InDouble logits64(logits);
  Guarded gradient64(DType::f64, {c.rows, c.vocabulary});
  kernels::cross_entropy(context(), loss64, gradient64, best64, logits64, labels, c.multiplier, c.scale);
  kernels::cross_entropy(context(), loss, gradient, best, logits, labels, c.multiplier, c.scale);
  kernels::cross_entropy(context(), alone, {}, {}, logits, labels, c.multiplier, c.scale);
  EXPECT_EQ(best, best64);
  EXPECT_TRUE(same_bits(loss, alone));
  expect_close(loss, loss64, "loss", [&](int64_t t, int64_t) {
    return sum_error(measure(logits64, t, c.multiplier)) + 2 * kUnit * std::abs(load_element(loss64, t, 0));
  });
  expect_close(gradient, gradient64, "dlogits", [&](int64_t t, int64_t v) {
    int32_t label = labels[static_cast<size_t>(t)];
    if (label == kIgnoredLabel) return 0.0;
    Row row = measure(logits64, t, c.multiplier);
    double z = c.multiplier * load_element(logits64, t, v);
    double p = std::exp(z - row.lse);
    double error = p * (sum_error(row) + (2 * (row.largest - z) + 10) * kUnit) + (v == label ? 2 * kUnit : 0);
    return std::abs(c.scale * c.multiplier) * error;
  });
  EXPECT_TRUE(logits.intact() && gradient.intact() && loss.intact() && alone.intact());
  if (c.gradient == DType::f32) {
    kernels::cross_entropy(context(), loss, logits, {}, logits, labels, c.multiplier, c.scale);
    EXPECT_TRUE(same_bits(logits, gradient)) << "in place";
  }
}

TEST(CrossEntropy, LossGradientAndBest) {
  for (int64_t vocabulary : {1, 7, 16, 17, 63, 64, 65, 130, 1024, 1037, 3000}) {
    for (DType gradient : {DType::f32, DType::bf16}) {
      for (double multiplier : {1.0, 0.375, -0.5}) {
        check({.rows = 4, .vocabulary = vocabulary, .gradient = gradient, .multiplier = multiplier, .scale = 0.03125});
      }
    }
  }
}

TEST(CrossEntropy, FirstOfEqualLogitsIsBest) {
  Guarded logits(DType::f32, {1, 100});
  logits.fill(0);
  std::vector<int32_t> best(1);
  Guarded loss(DType::f32, {1});
  for (int32_t at : {0, 5, 17, 40, 98}) {
    logits.set([&](int64_t, int64_t i) { return i == at || i == 99 ? 2.0 : -1.0; });
    kernels::cross_entropy(context(), loss, {}, best, logits, std::vector<int32_t>{0}, 1, 1);
    EXPECT_EQ(best[0], at);
  }
}

TEST(CrossEntropy, HugeLogitsStayFinite) {
  Guarded logits(DType::f32, {1, 50}), gradient(DType::f32, {1, 50});
  logits.set([](int64_t, int64_t i) { return i == 3 ? 3e4 : -3e4; });
  Guarded loss(DType::f32, {1});
  kernels::cross_entropy(context(), loss, gradient, {}, logits, std::vector<int32_t>{4}, 1, 1);
  EXPECT_EQ(load_element(loss, 0, 0), 6e4);
  EXPECT_EQ(load_element(gradient, 0, 3), 1);
  EXPECT_EQ(load_element(gradient, 0, 4), -1);
  EXPECT_EQ(load_element(gradient, 0, 5), 0);
}

TEST(CrossEntropy, SameBitsForAnyNumberOfThreads) {
  Guarded logits(DType::f32, {9, 3000}), first(DType::f32, {9, 3000});
  logits.fill_normal(1);
  std::vector<int32_t> labels = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  Guarded loss(DType::f32, {9}), other_loss(DType::f32, {9});
  kernels::cross_entropy(context(1), loss, first, {}, logits, labels, 1, 1);
  for (int threads : {2, 3}) {
    Guarded other(DType::f32, {9, 3000});
    kernels::cross_entropy(context(threads), other_loss, other, {}, logits, labels, 1, 1);
    EXPECT_TRUE(same_bits(first, other) && same_bits(loss, other_loss));
  }
}

}  // namespace
}  // namespace tandem::testing
