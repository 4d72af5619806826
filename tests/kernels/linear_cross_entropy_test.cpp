#include "kernels/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/error.h"
#include "kernels/compare.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cross_entropy.h"
#include "kernels/emulated_tiles.h"
#include "kernels/guarded.h"
#include "kernels/isa/tile_probe.h"

namespace tandem::testing {
namespace {

using kernels::kIgnoredLabel;
using kernels::LinearCrossEntropy;

struct Case {
  int64_t tokens, vocabulary, width;
  double multiplier = 1;  // exact in f32
  DType dx = DType::f32;
  double growth = 0;  // how much larger the vocabulary's last weights are than the first ones
  double scale = 1;   // of the weights
};

std::string name(const Case& c) {
  return fmt::format("{} tokens, {} entries, width {}, multiplier {}, dx {}, growth {}, scale {}", c.tokens,
                     c.vocabulary, c.width, c.multiplier, dtype_name(c.dx), c.growth, c.scale);
}

class LinearCrossEntropyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!context().cpu().linear_cross_entropy.terms) GTEST_SKIP() << "no products of bf16";
  }
};

// Operands and results.
struct Data {
  Guarded x, weight, loss, dx, dweight, before;
  std::vector<int32_t> labels;

  explicit Data(const Case& c)
      : x(DType::bf16, {c.tokens, c.width}, c.width + 2),
        weight(DType::bf16, {c.vocabulary, c.width}, c.width + 4),
        loss(DType::f32, {c.tokens}),
        dx(c.dx, {c.tokens, c.width}, c.width + 3),
        dweight(DType::f32, {c.vocabulary, c.width}, c.width + 5),
        before(DType::f32, {c.vocabulary, c.width}) {
    x.fill_normal(1);
    Rng rng(2, 7);
    weight.set([&](int64_t v, int64_t) {
      return c.scale * (rng.normal() + c.growth * static_cast<double>(v) / static_cast<double>(c.vocabulary));
    });
    before.fill_normal(3);
    dweight.copy(before);
    for (int64_t t = 0; t < c.tokens; ++t) {
      labels.push_back(t % 5 == 1 ? kIgnoredLabel : static_cast<int32_t>(t * 7919 % c.vocabulary));
    }
  }
  LinearCrossEntropy op(const Case& c) const {
    return {.x = x,
            .weight = weight,
            .labels = labels,
            .multiplier = c.multiplier,
            .loss = loss,
            .dx = dx,
            .dweight = dweight};
  }
  bool intact() const { return x.intact() && weight.intact() && loss.intact() && dx.intact() && dweight.intact(); }
};

// The same in double, and how far float32 sums and terms in bf16 may be from it.
class Reference {
 public:
  Reference(const Case& c, const Data& data) : c_(c), x_(rows_of(data.x)), w_(rows_of(data.weight)) {
    loss.resize(x_.size()), loss_error.resize(x_.size());
    dx = dx_error = zeros(c.tokens);
    dw = dw_error = zeros(c.vocabulary);
    for (size_t v = 0; v < w_.size(); ++v) {
      for (size_t i = 0; i < width(); ++i) {
        dw[v][i] = load_element(data.before, static_cast<int64_t>(v), static_cast<int64_t>(i));
        dw_error[v][i] = kUnit * sum_length(c.tokens) * std::abs(dw[v][i]);
      }
    }
    for (size_t t = 0; t < x_.size(); ++t) {
      if (data.labels[t] != kIgnoredLabel) token(t, static_cast<size_t>(data.labels[t]));
    }
  }

  std::vector<double> loss, loss_error;
  std::vector<std::vector<double>> dx, dx_error, dw, dw_error;

 private:
  using Rows = std::vector<std::vector<double>>;
  static Rows rows_of(const Tensor& t) {
    Rows rows(static_cast<size_t>(t.rows()));
    for (int64_t r = 0; r < t.rows(); ++r) {
      for (int64_t i = 0; i < t.row_size(); ++i) rows[static_cast<size_t>(r)].push_back(load_element(t, r, i));
    }
    return rows;
  }
  size_t width() const { return static_cast<size_t>(c_.width); }
  Rows zeros(int64_t n) const { return Rows(static_cast<size_t>(n), std::vector<double>(width())); }

  // Additions and roundings on the way of a sum of n terms, whose parts are added up besides.
  static double sum_length(int64_t n) { return static_cast<double>(n) + 40; }

  void token(size_t t, size_t label) {
    std::vector<double> p(w_.size()), p_error(w_.size());
    double largest = -std::numeric_limits<double>::infinity(), label_error = 0;
    for (size_t v = 0; v < w_.size(); ++v) {
      double logit = 0, magnitude = 0;
      for (size_t i = 0; i < width(); ++i) {
        logit += x_[t][i] * w_[v][i];
        magnitude += std::abs(x_[t][i] * w_[v][i]);
      }
      p[v] = c_.multiplier * logit;
      p_error[v] = std::abs(c_.multiplier) * static_cast<double>(c_.width + 2) * kUnit * magnitude;
      if (v == label) label_error = p_error[v];
      largest = std::max(largest, p[v]);
    }
    const double at_label = p[label];
    double total = 0, total_error = 0;
    for (size_t v = 0; v < w_.size(); ++v) {
      // Of the exponent: its factor's and its own rounding, at a level within the room above or below the largest.
      p_error[v] += (2 * std::abs(p[v]) + std::abs(largest) + std::abs(largest - p[v]) + cpu::kLevelRoom) * kUnit;
      p[v] = std::exp(p[v] - largest);
      p_error[v] = std::expm1(p_error[v]) + 6 * kUnit;
      total += p[v];
      total_error += p[v] * p_error[v];
    }
    total_error = total_error / total + sum_length(384 / 2) * kUnit;
    loss[t] = largest + std::log(total) - at_label;
    loss_error[t] =
        total_error + label_error + 4 * kUnit * (std::abs(largest) + std::abs(at_label) + std::abs(loss[t]));
    for (size_t v = 0; v < w_.size(); ++v) {
      const double share = p[v] / total * c_.multiplier;
      // A term is rounded to bf16 and added to its sum; for dW x is rounded once more.
      const double of_term = p_error[v] + total_error + kUnitBf16;
      const double to_dx = std::abs(share) * (of_term + kUnit * sum_length(c_.vocabulary));
      const double to_dw = std::abs(share) * (of_term + kUnitBf16 * (1 + of_term) + kUnit * sum_length(c_.tokens));
      const double is_label = v == label ? c_.multiplier : 0;
      for (size_t i = 0; i < width(); ++i) {
        dx[t][i] += (share - is_label) * w_[v][i];
        dx_error[t][i] += to_dx * std::abs(w_[v][i]) + 4 * kUnit * std::abs(is_label * w_[v][i]);
        dw[v][i] += (share - is_label) * x_[t][i];
        dw_error[v][i] += (to_dw + kUnit * sum_length(c_.tokens) * std::abs(is_label)) * std::abs(x_[t][i]);
      }
    }
  }

  const Case& c_;
  Rows x_, w_;
};

using Compute = void (*)(const LinearCrossEntropy& op);

void check(const Case& c, Compute compute) {
  SCOPED_TRACE(name(c));
  Data data(c);
  compute(data.op(c));
  Reference want(c, data);
  auto tensor = [](const std::vector<std::vector<double>>& rows) {
    return [&rows](int64_t r, int64_t i) { return rows[static_cast<size_t>(r)][static_cast<size_t>(i)]; };
  };
  auto in_double = [&](const auto& value, const Shape& shape) {
    auto out = std::make_unique<Guarded>(DType::f64, shape);
    out->set(value);
    return out;
  };
  auto loss = in_double([&](int64_t t, int64_t) { return want.loss[static_cast<size_t>(t)]; }, {c.tokens});
  expect_close(data.loss, *loss, "loss", [&](int64_t t, int64_t) { return want.loss_error[static_cast<size_t>(t)]; });
  expect_close(data.dx, *in_double(tensor(want.dx), {c.tokens, c.width}), "dx", tensor(want.dx_error));
  expect_close(data.dweight, *in_double(tensor(want.dw), {c.vocabulary, c.width}), "dweight", tensor(want.dw_error));
  EXPECT_TRUE(data.intact());
}

void by_context(const LinearCrossEntropy& op) { kernels::linear_cross_entropy(context(), op); }

TEST_F(LinearCrossEntropyTest, LossAndGradients) {
  for (int64_t vocabulary : {2, 19, 383, 384, 385, 1000, 4224 + 35}) {
    for (int64_t tokens : {1, 7, 33, 130}) {
      check({.tokens = tokens, .vocabulary = vocabulary, .width = 10}, by_context);
    }
  }
  for (int64_t width : {2, 16, 34, 64, 130}) {
    for (DType dx : {DType::f32, DType::bf16}) {
      check({.tokens = 140, .vocabulary = 801, .width = width, .multiplier = 0.375, .dx = dx, .scale = 0.5},
            by_context);
    }
  }
  check({.tokens = 40, .vocabulary = 1000, .width = 32, .multiplier = -0.5}, by_context);
}

TEST_F(LinearCrossEntropyTest, SeveralChunksOfTokens) {
  check({.tokens = 4096 + 200, .vocabulary = 50, .width = 4}, by_context);
}

// Logits that grow along the vocabulary by far more than a float's exponential bears: levels must rise.
TEST_F(LinearCrossEntropyTest, HugeLogitsStayFinite) {
  check({.tokens = 40, .vocabulary = 5000, .width = 16, .growth = 60}, by_context);
  check({.tokens = 40, .vocabulary = 5000, .width = 16, .growth = -60}, by_context);
  check({.tokens = 20, .vocabulary = 900, .width = 16, .growth = 300, .scale = 16}, by_context);
}

TEST_F(LinearCrossEntropyTest, WithoutTheWeightsGradient) {
  const Case c{.tokens = 150, .vocabulary = 700, .width = 32};
  Data both(c), one(c);
  LinearCrossEntropy op = one.op(c);
  op.dweight = {};
  kernels::linear_cross_entropy(context(), both.op(c));
  kernels::linear_cross_entropy(context(), op);
  EXPECT_TRUE(same_bits(one.loss, both.loss));
  EXPECT_TRUE(same_bits(one.dx, both.dx));
  EXPECT_TRUE(same_bits(one.dweight, one.before));
}

TEST_F(LinearCrossEntropyTest, IgnoredTokensGiveNothing) {
  const Case c{.tokens = 35, .vocabulary = 500, .width = 16};
  Data data(c);
  data.labels.assign(data.labels.size(), kIgnoredLabel);
  kernels::linear_cross_entropy(context(), data.op(c));
  for (int64_t t = 0; t < c.tokens; ++t) {
    EXPECT_EQ(load_element(data.loss, t, 0), 0);
    for (int64_t i = 0; i < c.width; ++i) ASSERT_EQ(load_element(data.dx, t, i), 0);
  }
  EXPECT_TRUE(same_bits(data.dweight, data.before));
}

// What is not a number must show, or a run would go on with it.
TEST_F(LinearCrossEntropyTest, NotANumberReachesTheLoss) {
  const Case c{.tokens = 3, .vocabulary = 900, .width = 16};
  for (int64_t at : {0, 500, 899}) {
    Data data(c);
    store_element(data.weight, at, 3, std::numeric_limits<double>::quiet_NaN());
    kernels::linear_cross_entropy(context(), data.op(c));
    EXPECT_TRUE(std::isnan(load_element(data.loss, 0, 0))) << at;
    EXPECT_TRUE(std::isnan(load_element(data.dx, 0, 0))) << at;
  }
}

TEST_F(LinearCrossEntropyTest, SameBitsForAnyNumberOfThreads) {
  const Case c{.tokens = 300, .vocabulary = 9000, .width = 24};
  Data first(c);
  kernels::linear_cross_entropy(context(1), first.op(c));
  for (int threads : {2, 3}) {
    Data other(c);
    kernels::linear_cross_entropy(context(threads), other.op(c));
    EXPECT_TRUE(same_bits(first.loss, other.loss) && same_bits(first.dx, other.dx));
    EXPECT_TRUE(same_bits(first.dweight, other.dweight));
  }
}

// A token's results do not depend on its place in the batch nor on the tokens beside it.
TEST_F(LinearCrossEntropyTest, SameBitsWhereverATokenStands) {
  const Case c{.tokens = 150, .vocabulary = 5000, .width = 24};
  Data whole(c);
  kernels::linear_cross_entropy(context(), whole.op(c));
  LinearCrossEntropy rest = whole.op(c);
  Guarded loss(DType::f32, {c.tokens - 37}), dx(DType::f32, {c.tokens - 37, c.width});
  rest.x = rest.x.slice_rows(37, c.tokens);
  rest.labels = rest.labels.subspan(37);
  rest.loss = loss;
  rest.dx = dx;
  rest.dweight = {};
  kernels::linear_cross_entropy(context(), rest);
  EXPECT_TRUE(same_bits(loss, whole.loss.tensor().slice_rows(37, c.tokens)));
  EXPECT_TRUE(same_bits(dx, whole.dx.tensor().slice_rows(37, c.tokens)));
}

TEST_F(LinearCrossEntropyTest, OtherTypesAreRefused) {
  const Case c{.tokens = 3, .vocabulary = 20, .width = 16};
  Data data(c);
  LinearCrossEntropy op = data.op(c);
  op.dweight = data.weight;
  EXPECT_FALSE(kernels::has_linear_cross_entropy(context(), op.x, op.weight, op.dweight));
  EXPECT_THROW(kernels::linear_cross_entropy(context(), op), LogicError);
}

void by_emulated_tiles(const LinearCrossEntropy& op) {
  kernels::linear_cross_entropy(context(), op, cpu::avx512_bf16::kEmulatedTileProduct);
  EXPECT_FALSE(EmulatedTiles::configured());
}

TEST_F(LinearCrossEntropyTest, ByTiles) {
  const int64_t before = EmulatedTiles::counts().multiplied;
  check({.tokens = 7, .vocabulary = 19, .width = 10}, by_emulated_tiles);
  check({.tokens = 33, .vocabulary = 801, .width = 64}, by_emulated_tiles);
  check({.tokens = 130, .vocabulary = 385, .width = 34, .multiplier = 0.375, .dx = DType::bf16}, by_emulated_tiles);
  EXPECT_GT(EmulatedTiles::counts().multiplied, before);
}

}  // namespace
}  // namespace tandem::testing
