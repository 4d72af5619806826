// RMS norm and layer norm.
#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/guarded.h"
#include "kernels/layernorm.h"
#include "kernels/rmsnorm.h"

namespace tandem::testing {
namespace {

constexpr double kEps = 1e-5;
constexpr int64_t kRowCounts[] = {1, 5, 40};

double mean_magnitude(const Tensor& x, int64_t r) {
  double sum = 0;
  for (int64_t i = 0; i < x.row_size(); ++i) sum += std::abs(load_element(x, r, i));
  return sum / static_cast<double>(x.row_size());
}

double at(const Tensor& t, int64_t i) { return load_element(t, i, 0); }

struct Norm {
  int64_t rows, d;
  DType type;  // of y and dy
  int64_t gap;
  Guarded x, weight, bias, dy;
  Norm(int64_t rows_, int64_t d_, DType type_, int64_t gap_, double mean)
      : rows(rows_),
        d(d_),
        type(type_),
        gap(gap_),
        x(DType::f32, {rows, d}, d + gap),
        weight(DType::f32, {d}),
        bias(DType::f32, {d}),
        dy(type, {rows, d}, d + gap) {
    x.fill_normal(1, 2, mean);
    weight.fill_normal(2, 0.5, 1);
    bias.fill_normal(3);
    dy.fill_normal(4);
  }
  bool intact() const { return x.intact() && weight.intact() && bias.intact() && dy.intact(); }
};

template <class Check>
void for_cases(double mean, const Check& check) {
  for (int64_t rows : kRowCounts) {
    for (int64_t d : kAwkwardSizes) {
      for (DType type : {DType::f32, DType::bf16}) {
        SCOPED_TRACE(::testing::Message() << rows << " rows of " << d << ", " << dtype_name(type));
        Norm norm(rows, d, type, d % 2 ? 0 : 5, mean);
        check(norm);
        EXPECT_TRUE(norm.intact());
      }
    }
  }
}

// r is off by half the sum's path and a few operations; y by two more.
TEST(RmsNorm, Forward) {
  for_cases(0.5, [](Norm& n) {
    Guarded y(n.type, {n.rows, n.d}, n.d + n.gap), r(DType::f32, {n.rows});
    InDouble x(n.x), weight(n.weight);
    Guarded y64(DType::f64, {n.rows, n.d}), r64(DType::f64, {n.rows});
    kernels::rmsnorm_forward(context(), y64, r64, x, weight, kEps);
    kernels::rmsnorm_forward(context(), y, r, n.x, n.weight, kEps);
    double factor = (sum_path(n.d) / 2 + 6) * kUnit;
    expect_close(r, r64, "r", [&](int64_t t, int64_t) { return factor * at(r64, t); });
    expect_close(y, y64, "y", [&](int64_t t, int64_t i) { return factor * std::abs(load_element(y64, t, i)); });
    EXPECT_TRUE(y.intact() && r.intact());
    Guarded again(n.type, {n.rows, n.d});
    kernels::rmsnorm_forward(context(), again, {}, n.x, n.weight, kEps);
    EXPECT_TRUE(same_bits(again, y)) << "without r";
  });
}

// The terms of dx are r g and r^2 x mean(g x r), of dweight dy x r; both are sums along the path of their row or
// column.
TEST(RmsNorm, Backward) {
  for_cases(0.5, [](Norm& n) {
    for (bool accumulate : {false, true}) {
      Guarded r(DType::f32, {n.rows}), y(DType::f32, {n.rows, n.d});
      kernels::rmsnorm_forward(context(), y, r, n.x, n.weight, kEps);
      Guarded dx(DType::f32, {n.rows, n.d}, n.d + n.gap), dweight(DType::f32, {n.d});
      if (accumulate) dx.fill_normal(8);
      dweight.fill_normal(9);
      Guarded dx64(DType::f64, {n.rows, n.d});
      if (accumulate) dx64.copy(dx);
      InDouble dweight64(dweight), dy(n.dy), x(n.x), r64(r), weight(n.weight), dx_before(dx64), dw_before(dweight);
      kernels::rmsnorm_backward(context(), dx64, accumulate, dweight64, dy, x, r64, weight);
      kernels::rmsnorm_backward(context(), dx, accumulate, dweight, n.dy, n.x, r, n.weight);
      double factor = (sum_path(n.d) + 10) * kUnit;
      expect_close(dx, dx64, "dx", [&](int64_t t, int64_t i) {
        double scale = at(r, t), products = 0;
        for (int64_t j = 0; j < n.d; ++j) {
          products += std::abs(load_element(dy, t, j) * at(weight, j) * load_element(x, t, j)) * scale;
        }
        double terms = scale * (std::abs(load_element(dy, t, i) * at(weight, i)) +
                                std::abs(load_element(x, t, i)) * scale * products / static_cast<double>(n.d));
        return factor * (terms + (accumulate ? std::abs(load_element(dx_before, t, i)) : 0));
      });
      expect_close(dweight, dweight64, "dweight", [&](int64_t i, int64_t) {
        double terms = std::abs(at(dw_before, i));
        for (int64_t t = 0; t < n.rows; ++t) {
          terms += std::abs(load_element(dy, t, i) * load_element(x, t, i)) * at(r, t);
        }
        return (static_cast<double>(n.rows) + 4) * kUnit * terms;
      });
      EXPECT_TRUE(dx.intact() && dweight.intact() && r.intact());
    }
  });
}

// The mean is off by the sum's path times the mean magnitude, and so is every difference from it; r by half its path.
TEST(LayerNorm, Forward) {
  for_cases(3, [](Norm& n) {
    if (n.d == 1) return;  // variance zero: y is the bias, checked below
    Guarded y(n.type, {n.rows, n.d}, n.d + n.gap), mean(DType::f32, {n.rows}), r(DType::f32, {n.rows});
    InDouble x(n.x), weight(n.weight), bias(n.bias);
    Guarded y64(DType::f64, {n.rows, n.d}), mean64(DType::f64, {n.rows}), r64(DType::f64, {n.rows});
    kernels::layernorm_forward(context(), y64, mean64, r64, x, weight, bias, kEps);
    kernels::layernorm_forward(context(), y, mean, r, n.x, n.weight, n.bias, kEps);
    double factor = (sum_path(n.d) + 6) * kUnit;
    expect_close(mean, mean64, "mean", [&](int64_t t, int64_t) { return factor * mean_magnitude(x, t); });
    auto spread = [&](int64_t t) { return mean_magnitude(x, t) * at(r64, t); };
    expect_close(r, r64, "r", [&](int64_t t, int64_t) { return factor * (1 + spread(t)) * at(r64, t); });
    expect_close(y, y64, "y", [&](int64_t t, int64_t i) {
      double terms = (std::abs(load_element(x, t, i)) * at(r64, t) + spread(t)) * (1 + spread(t));
      return 2 * factor * (terms * std::abs(at(weight, i)) + std::abs(at(bias, i)));
    });
    EXPECT_TRUE(y.intact() && mean.intact() && r.intact());
    Guarded again(n.type, {n.rows, n.d});
    kernels::layernorm_forward(context(), again, {}, {}, n.x, n.weight, n.bias, kEps);
    EXPECT_TRUE(same_bits(again, y)) << "without mean and r";
  });
}

TEST(LayerNorm, ConstantRowsGiveTheBias) {
  Guarded x(DType::f32, {3, 17}), weight(DType::f32, {17}), bias(DType::f32, {17}), y(DType::f32, {3, 17});
  x.fill(4);
  weight.fill_normal(1);
  bias.fill_normal(2);
  kernels::layernorm_forward(context(), y, {}, {}, x, weight, bias, kEps);
  for (int64_t i = 0; i < 17; ++i) EXPECT_EQ(load_element(y, 1, i), at(bias, i));
}

TEST(LayerNorm, Backward) {
  for_cases(3, [](Norm& n) {
    for (bool accumulate : {false, true}) {
      Guarded mean(DType::f32, {n.rows}), r(DType::f32, {n.rows}), y(DType::f32, {n.rows, n.d});
      kernels::layernorm_forward(context(), y, mean, r, n.x, n.weight, n.bias, kEps);
      Guarded dx(DType::f32, {n.rows, n.d}, n.d + n.gap), dweight(DType::f32, {n.d}), dbias(DType::f32, {n.d});
      if (accumulate) dx.fill_normal(8);
      dweight.fill_normal(9);
      dbias.fill_normal(10);
      Guarded dx64(DType::f64, {n.rows, n.d});
      if (accumulate) dx64.copy(dx);
      InDouble dweight64(dweight), dbias64(dbias), dy(n.dy), x(n.x), mean64(mean), r64(r), weight(n.weight);
      InDouble dx_before(dx64), dw_before(dweight), db_before(dbias);
      kernels::layernorm_backward(context(), dx64, accumulate, dweight64, dbias64, dy, x, mean64, r64, weight);
      kernels::layernorm_backward(context(), dx, accumulate, dweight, dbias, n.dy, n.x, mean, r, n.weight);
      double factor = (sum_path(n.d) + 12) * kUnit;
      auto normed = [&](int64_t t, int64_t i) { return std::abs(load_element(x, t, i) - at(mean64, t)) * at(r64, t); };
      expect_close(dx, dx64, "dx", [&](int64_t t, int64_t i) {
        double sum = 0, products = 0;
        for (int64_t j = 0; j < n.d; ++j) {
          double g = std::abs(load_element(dy, t, j) * at(weight, j));
          sum += g / static_cast<double>(n.d);
          products += g * normed(t, j) / static_cast<double>(n.d);
        }
        double g = std::abs(load_element(dy, t, i) * at(weight, i));
        double terms = at(r64, t) * (g + sum + normed(t, i) * products);
        return factor * (terms + (accumulate ? std::abs(load_element(dx_before, t, i)) : 0));
      });
      double column = (static_cast<double>(n.rows) + 5) * kUnit;
      expect_close(dweight, dweight64, "dweight", [&](int64_t i, int64_t) {
        double terms = std::abs(at(dw_before, i));
        for (int64_t t = 0; t < n.rows; ++t) terms += std::abs(load_element(dy, t, i)) * normed(t, i);
        return column * terms;
      });
      expect_close(dbias, dbias64, "dbias", [&](int64_t i, int64_t) {
        double terms = std::abs(at(db_before, i));
        for (int64_t t = 0; t < n.rows; ++t) terms += std::abs(load_element(dy, t, i));
        return column * terms;
      });
      EXPECT_TRUE(dx.intact() && dweight.intact() && dbias.intact());
    }
  });
}

// Rows enough for many chunks of partial sums.
TEST(Norms, SameBitsForAnyNumberOfThreads) {
  Norm n(300, 65, DType::f32, 0, 1);
  Guarded mean(DType::f32, {n.rows}), r(DType::f32, {n.rows}), y(DType::f32, {n.rows, n.d});
  kernels::layernorm_forward(context(1), y, mean, r, n.x, n.weight, n.bias, kEps);
  auto run = [&](int threads, Guarded& dx, Guarded& dw, Guarded& db, Guarded& dw_rms) {
    for (Guarded* sum : {&dw, &db, &dw_rms}) sum->fill(0.25);
    kernels::layernorm_backward(context(threads), dx, false, dw, db, n.dy, n.x, mean, r, n.weight);
    kernels::rmsnorm_backward(context(threads), dx, true, dw_rms, n.dy, n.x, r, n.weight);
  };
  Guarded dx(DType::f32, {n.rows, n.d}), dw(DType::f32, {n.d}), db(DType::f32, {n.d}), dw_rms(DType::f32, {n.d});
  run(1, dx, dw, db, dw_rms);
  for (int threads : {2, 3}) {
    Guarded dx2(DType::f32, {n.rows, n.d}), dw2(DType::f32, {n.d}), db2(DType::f32, {n.d}), rms2(DType::f32, {n.d});
    run(threads, dx2, dw2, db2, rms2);
    EXPECT_TRUE(same_bits(dx, dx2) && same_bits(dw, dw2) && same_bits(db, db2) && same_bits(dw_rms, rms2)) << threads;
  }
}

}  // namespace
}  // namespace tandem::testing
