#include "kernels/gated_norm.h"

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

constexpr double kEps = 1e-5;

struct NormPass {
  Guarded o, g, y, dy, d_o, dg;

  NormPass(DType dtype, const Shape& shape, int64_t gap)
      : o(dtype, shape, shape[1] * shape[2] + gap),
        g(dtype, shape, shape[1] * shape[2] + 2 * gap),
        y(dtype, shape),
        dy(dtype, shape),
        d_o(dtype, shape, shape[1] * shape[2] + gap),
        dg(dtype, shape, shape[1] * shape[2] + gap) {
    o.fill_normal(1, 2);
    g.fill_normal(2, 2);
    dy.fill_normal(3);
  }
  void run(Context& ctx) {
    kernels::gated_norm_forward(ctx, y, o, g, kEps);
    kernels::gated_norm_backward(ctx, d_o, dg, dy, o, g, kEps);
  }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Roundings: some 24 in a sigmoid and what it is multiplied with, the exponential's argument by its size, and two sums
// over the features of a head (of squares, which changes the scale by half as much, and of products).
void check(DType dtype, const Shape& shape, int64_t gap) {
  SCOPED_TRACE(::testing::Message() << shape.text() << " " << dtype_name(dtype));
  NormPass fast(dtype, shape, gap), reference(DType::f64, shape, 0);
  reference.o.copy(fast.o);
  reference.g.copy(fast.g);
  reference.dy.copy(fast.dy);
  fast.run(context());
  reference.run(context());
  int64_t n = shape[2];
  auto element = [](const Tensor& t, int64_t row, int64_t i) { return std::abs(load_element(t, row, i)); };
  auto relative = [&](int64_t t, int64_t i) { return (32 + sum_path(n) + element(fast.g, t, i)) * kUnit; };
  auto scale = [&](int64_t t, int64_t i) {
    double squares = 0;
    for (int64_t c = i / n * n; c < i / n * n + n; ++c) squares += element(fast.o, t, c) * element(fast.o, t, c);
    return 1 / std::sqrt(squares / static_cast<double>(n) + kEps);
  };
  auto silu = [&](int64_t t, int64_t i) {
    double g = load_element(fast.g, t, i);
    return std::abs(g * sigmoid(g));
  };
  expect_close(fast.y, reference.y, "y",
               [&](int64_t t, int64_t i) { return relative(t, i) * element(reference.y, t, i); });
  expect_close(fast.dg, reference.dg, "dg", [&](int64_t t, int64_t i) {
    double g = load_element(fast.g, t, i), slope = sigmoid(g) + std::abs(g) * sigmoid(g) * sigmoid(-g);
    return relative(t, i) * element(fast.dy, t, i) * element(fast.o, t, i) * scale(t, i) * slope;
  });
  expect_close(fast.d_o, reference.d_o, "d_o", [&](int64_t t, int64_t i) {
    double r = scale(t, i), products = 0, worst = 0;
    for (int64_t c = i / n * n; c < i / n * n + n; ++c) {
      products += element(fast.dy, t, c) * silu(t, c) * element(fast.o, t, c) * r;
      worst = std::max(worst, relative(t, c));
    }
    double terms = element(fast.dy, t, i) * silu(t, i) + element(fast.o, t, i) * r * products / static_cast<double>(n);
    return 3 * worst * r * terms;
  });
  EXPECT_TRUE(fast.y.intact() && fast.d_o.intact() && fast.dg.intact());
}

TEST(GatedNorm, ForwardAndBackward) {
  for (int64_t n : kAwkwardSizes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      check(dtype, {5, 3, n}, 0);
      check(dtype, {5, 2, n}, 3);
    }
  }
}

TEST(GatedNorm, SameBitsForAnyNumberOfThreads) {
  NormPass one(DType::f32, {300, 3, 20}, 1);
  one.run(context(1));
  for (int threads : {2, 3}) {
    NormPass more(DType::f32, {300, 3, 20}, 1);
    more.run(context(threads));
    EXPECT_TRUE(same_bits(one.y, more.y) && same_bits(one.d_o, more.d_o) && same_bits(one.dg, more.dg));
  }
}

}  // namespace
}  // namespace tandem::testing
