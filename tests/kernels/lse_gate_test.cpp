// The gate on log-sum-exps against its double-precision reference, and the reference against finite differences.
#include "kernels/lse_gate.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

struct GateRun {
  Guarded o, a, b, lse_a, lse_b, bias, temperature, d_o, da, db, dlse_a, dlse_b, dbias, dtemperature;

  GateRun(DType dtype, DType gradient, DType wide, const Shape& shape)
      : o(dtype, shape),
        a(dtype, shape, shape[1] * shape[2] + 3),
        b(dtype, shape),
        lse_a(wide, {shape[1], shape[0]}),
        lse_b(wide, {shape[1], shape[0]}),
        bias(wide, {shape[1], 2}),
        temperature(wide, {shape[1]}),
        d_o(gradient, shape),
        da(gradient, shape, shape[1] * shape[2] + 5),
        db(gradient, shape),
        dlse_a(wide, {shape[1], shape[0]}),
        dlse_b(wide, {shape[1], shape[0]}),
        dbias(wide, {shape[1], 2}),
        dtemperature(wide, {shape[1]}) {
    a.fill_normal(1);
    b.fill_normal(2);
    lse_a.fill_normal(3, 2);
    lse_b.fill_normal(4, 2);
    bias.fill_normal(5);
    temperature.fill_normal(6, 0.2, 1);
    d_o.fill_normal(7);
    dbias.fill(0.5);
    dtemperature.fill(-0.25);
  }
  GateRun(const GateRun& from, DType dtype, DType gradient)
      : GateRun(dtype, gradient, DType::f64, from.o.tensor().shape) {
    a.copy(from.a);
    b.copy(from.b);
    lse_a.copy(from.lse_a);
    lse_b.copy(from.lse_b);
    bias.copy(from.bias);
    temperature.copy(from.temperature);
    d_o.copy(from.d_o);
  }
  // Attentions that saw no key.
  void blind() {
    double nothing = -std::numeric_limits<double>::infinity();
    store_element(lse_a, 0, 0, nothing);
    store_element(lse_b, 0, 1, nothing);
    store_element(lse_a, 0, 2, nothing);
    store_element(lse_b, 0, 2, nothing);
  }
  void run(Context& ctx) {
    kernels::lse_gate_forward(ctx, o, a, b, lse_a, lse_b, bias, temperature);
    kernels::lse_gate_backward(ctx, da, db, dlse_a, dlse_b, dbias, dtemperature, d_o, a, b, lse_a, lse_b, bias,
                               temperature);
  }
  bool intact() const {
    return o.intact() && da.intact() && db.intact() && dlse_a.intact() && dlse_b.intact() && dbias.intact() &&
           dtemperature.intact();
  }
};

// The gate's weight is computed in double and rounded once; what remains are the roundings of one or two operations
// per element and of the sum over features. Sums over queries are in double.
void check(DType dtype, DType gradient, const Shape& shape, bool blind) {
  GateRun fast(dtype, gradient, DType::f32, shape);
  if (blind) fast.blind();
  GateRun reference(fast, DType::f64, DType::f64);
  fast.run(context());
  reference.run(context());
  int64_t size = shape[2];
  auto mixed = [&](int64_t t, int64_t i) {
    return 4 * kUnit * (std::abs(load_element(fast.a, t, i)) + std::abs(load_element(fast.b, t, i)));
  };
  auto scaled = [&](int64_t t, int64_t i) { return 4 * kUnit * std::abs(load_element(fast.d_o, t, i)); };
  auto slope = [&](int64_t h, int64_t t) {
    double sum = 0;
    for (int64_t i = h * size; i < (h + 1) * size; ++i) {
      sum += std::abs(load_element(fast.d_o, t, i)) *
             (std::abs(load_element(fast.a, t, i)) + std::abs(load_element(fast.b, t, i)));
    }
    return (sum_path(size) + 2) * kUnit * sum * std::abs(load_element(fast.temperature, h, 0));
  };
  auto over_queries = [&](int64_t h, int64_t) {
    double sum = 2 * kUnit;
    for (int64_t t = 0; t < shape[0]; ++t) {
      double span = 4 + std::abs(load_element(fast.lse_a, h, t)) + std::abs(load_element(fast.lse_b, h, t));
      // What reaches the sums is finite: queries that see one side only add nothing.
      if (std::isfinite(span)) sum += slope(h, t) * (1 + span / std::abs(load_element(fast.temperature, h, 0)));
    }
    return sum * (1 + kUnit);
  };
  expect_close(fast.o, reference.o, "o", mixed);
  expect_close(fast.da, reference.da, "da", scaled);
  expect_close(fast.db, reference.db, "db", scaled);
  expect_close(fast.dlse_a, reference.dlse_a, "dlse_a", slope);
  expect_close(fast.dlse_b, reference.dlse_b, "dlse_b", slope);
  expect_close(fast.dbias, reference.dbias, "dbias", over_queries);
  expect_close(fast.dtemperature, reference.dtemperature, "dtemperature", over_queries);
  EXPECT_TRUE(fast.intact());
}

TEST(LseGate, MatchesReference) {
  for (int64_t size : {2, 16, 40, 64}) {
    for (bool blind : {false, true}) {
      check(DType::f32, DType::f32, {13, 3, size}, blind);
      check(DType::bf16, DType::f32, {13, 3, size}, blind);
      check(DType::bf16, DType::bf16, {13, 3, size}, blind);
    }
  }
}

TEST(LseGate, SameBitsForAnyNumberOfThreads) {
  GateRun one(DType::f32, DType::f32, DType::f32, {300, 3, 24});
  one.run(context(1));
  for (int threads : {2, 3}) {
    GateRun more(DType::f32, DType::f32, DType::f32, {300, 3, 24});
    more.run(context(threads));
    EXPECT_TRUE(same_bits(one.o, more.o) && same_bits(one.da, more.da) && same_bits(one.dbias, more.dbias) &&
                same_bits(one.dtemperature, more.dtemperature));
  }
}

// With bias 0 and temperature 1 the gate weighs a and b as one softmax over both key sets would.
TEST(LseGate, NeutralGateIsAJointSoftmax) {
  GateRun run(DType::f64, DType::f64, DType::f64, {1, 1, 2});
  run.bias.fill(0);
  run.temperature.fill(1);
  run.lse_a.fill(std::log(3.0));
  run.lse_b.fill(0);
  run.a.fill(1);
  run.b.fill(5);
  run.run(context());
  EXPECT_NEAR(load_element(run.o, 0, 0), 0.75 * 1 + 0.25 * 5, 1e-15);
}

// Central differences with step 1e-4 err by about 1e-8 here.
TEST(LseGateReference, GradientMatchesFiniteDifferences) {
  GateRun run(DType::f64, DType::f64, DType::f64, {3, 2, 4});
  run.dbias.fill(0);
  run.dtemperature.fill(0);
  run.run(context());
  auto loss = [&] {
    Guarded o(DType::f64, run.o.tensor().shape);
    kernels::lse_gate_forward(context(), o, run.a, run.b, run.lse_a, run.lse_b, run.bias, run.temperature);
    double sum = 0;
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < 8; ++i) sum += load_element(o, t, i) * load_element(run.d_o, t, i);
    }
    return sum;
  };
  auto compare = [&](const Tensor& x, const Tensor& gradient, const char* what) {
    constexpr double kStep = 1e-4;
    for (int64_t r = 0; r < x.rows(); ++r) {
      for (int64_t i = 0; i < x.row_size(); ++i) {
        double before = load_element(x, r, i);
        store_element(x, r, i, before + kStep);
        double up = loss();
        store_element(x, r, i, before - kStep);
        double down = loss();
        store_element(x, r, i, before);
        EXPECT_NEAR(load_element(gradient, r, i), (up - down) / (2 * kStep), 1e-7) << what << " " << r << ", " << i;
      }
    }
  };
  compare(run.a, run.da, "a");
  compare(run.b, run.db, "b");
  compare(run.lse_a, run.dlse_a, "lse_a");
  compare(run.lse_b, run.dlse_b, "lse_b");
  compare(run.bias, run.dbias, "bias");
  compare(run.temperature, run.dtemperature, "temperature");
}

}  // namespace
}  // namespace tandem::testing
