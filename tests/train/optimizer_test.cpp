#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "train/training_check.h"

namespace tandem {
namespace {

using test::Bench;

// AdamW on plain doubles.
struct Reference {
  double w, m = 0, v = 0;
  void update(double g, int64_t t, double rate, double decay, const OptimizerConfig& c) {
    m = c.beta1 * m + (1 - c.beta1) * g;
    v = c.beta2 * v + (1 - c.beta2) * g * g;
    w -= rate * decay * w;
    double mean = m / (1 - std::pow(c.beta1, static_cast<double>(t)));
    double spread = v / (1 - std::pow(c.beta2, static_cast<double>(t)));
    w -= rate * mean / (std::sqrt(spread) + c.eps);
  }
};

void fill_gradients(ParameterStore& store, Rng& rng) {
  for (Parameter& p : store.all()) {
    float* g = p.grad().as<float>();
    for (int64_t i = 0; i < p.grad().elements(); ++i) g[i] = static_cast<float>(3 * rng.normal());
  }
}

double plain_norm(const ParameterStore& store) {
  double squares = 0;
  for (const Parameter& p : store.all()) {
    for (float g : test::values(p.grad())) squares += static_cast<double>(g) * g;
  }
  return std::sqrt(squares);
}

// Several clipped steps against the loop above, with the rate and decay of each parameter's group.
TEST(Optimizer, EqualsAPlainLoop) {
  OptimizerConfig settings{.lr = 4e-3, .weight_decay = 0.5, .clip = 1.0};
  Bench bench(test::small_model(), settings);
  ParameterStore& store = bench.model->parameters();
  std::vector<std::vector<Reference>> expected;
  for (const Parameter& p : store.all()) {
    auto& all = expected.emplace_back();
    for (float w : test::values(p.master())) all.push_back({w});
  }
  Rng rng(5, 0);
  for (int64_t t = 1; t <= 4; ++t) {
    fill_gradients(store, rng);
    double scale = 1.0 / 31, factor = 0.25 * static_cast<double>(t - 1);
    double norm = bench.optimizer.gradient_norm(scale);
    EXPECT_NEAR(norm, plain_norm(store) * scale, 1e-9 * norm);
    double clip = std::min(1.0, 1.0 / (norm + 1e-6));
    EXPECT_LT(clip, 1);
    bench.optimizer.update(scale, norm, factor);
    for (size_t i = 0; i < expected.size(); ++i) {
      const Parameter& p = store.all()[i];
      double rate = 4e-3 * factor * (p.group() == MupGroup::matrix ? 16.0 / 32 : 1);
      double decay = p.group() == MupGroup::vector ? 0 : 0.5;
      std::vector<float> g = test::values(p.grad());
      for (size_t k = 0; k < g.size(); ++k) expected[i][k].update(g[k] * scale * clip, t, rate, decay, settings);
    }
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const Parameter& p = store.all()[i];
    std::vector<float> w = test::values(p.master());
    // Weights up to 1, four updates of at most about lr each, in float32: a few units in the last place.
    for (size_t k = 0; k < w.size(); ++k) ASSERT_NEAR(w[k], expected[i][k].w, 4e-7) << p.name() << " " << k;
  }
  EXPECT_EQ(bench.optimizer.updates(), 4);
}

TEST(Optimizer, GroupsHaveTheirRates) {
  Bench bench(test::small_model(), {.lr = 4e-3});
  EXPECT_DOUBLE_EQ(bench.optimizer.rate(MupGroup::embedding, 0.5), 2e-3);
  EXPECT_DOUBLE_EQ(bench.optimizer.rate(MupGroup::matrix, 0.5), 1e-3);
  EXPECT_DOUBLE_EQ(bench.optimizer.rate(MupGroup::vector, 0.5), 2e-3);
}

TEST(Optimizer, RateZeroMovesOnlyTheMoments) {
  Bench bench(test::small_model());
  Bench same(test::small_model());
  Rng rng(6, 0);
  fill_gradients(bench.model->parameters(), rng);
  bench.optimizer.update(1, bench.optimizer.gradient_norm(1), 0);
  EXPECT_TRUE(test::same_parameters(bench.model->parameters(), same.model->parameters()));
  EXPECT_NE(bench.optimizer.moments().front().first.tensor().as<float>()[0], 0);
}

TEST(Optimizer, KeepsTheBf16CopyInStep) {
  Bench bench(test::small_model(), {}, 2, Precision::bfloat16());
  Rng rng(7, 0);
  fill_gradients(bench.model->parameters(), rng);
  bench.optimizer.update(1, bench.optimizer.gradient_norm(1), 1);
  for (const Parameter& p : bench.model->parameters().all()) {
    if (!p.has_own_compute()) continue;
    for (int64_t i = 0; i < p.master().elements(); ++i) {
      ASSERT_EQ(p.compute().as<bf16>()[i], float_to_bf16(p.master().as<float>()[i])) << p.name() << " " << i;
    }
  }
}

TEST(Optimizer, GradientThatIsNotFiniteHasNoFiniteNorm) {
  Bench bench(test::small_model());
  EXPECT_TRUE(std::isfinite(bench.optimizer.gradient_norm(1)));
  bench.model->parameters().all()[2].grad().as<float>()[0] = INFINITY;
  EXPECT_FALSE(std::isfinite(bench.optimizer.gradient_norm(1)));
}

// Both count the same bytes: what is predicted and what is held.
TEST(Optimizer, MomentsInFewBitsTakeFewBytes) {
  std::map<OptimizerState, int64_t> held;
  for (OptimizerState state : {OptimizerState::float32, OptimizerState::bfloat16, OptimizerState::bits8}) {
    Bench bench(test::small_model(), {.state = state});
    int64_t predicted = 0;
    for (const Parameter& p : bench.model->parameters().all()) predicted += moment_bytes(state, p.shape().elements());
    for (const Moments& m : bench.optimizer.moments()) {
      for (const Storage* s : {&m.first, &m.second, &m.first_scale, &m.second_scale})
        if (s->tensor().defined()) held[state] += s->tensor().bytes();
    }
    EXPECT_EQ(held[state], predicted);
    for (int i = 0; i < 3; ++i) {
      bench.step.accumulate(test::random_batch(bench.model->config(), 2, 1));
      EXPECT_TRUE(bench.step.finish(1).applied);
    }
  }
  EXPECT_EQ(2 * held[OptimizerState::bfloat16], held[OptimizerState::float32]);
  EXPECT_LT(3.8 * static_cast<double>(held[OptimizerState::bits8]), static_cast<double>(held[OptimizerState::float32]));
}

TEST(Optimizer, ResetForgetsMomentsAndUpdates) {
  Bench bench(test::small_model());
  Rng rng(8, 0);
  fill_gradients(bench.model->parameters(), rng);
  bench.optimizer.update(1, bench.optimizer.gradient_norm(1), 1);
  bench.optimizer.reset();
  EXPECT_EQ(bench.optimizer.updates(), 0);
  for (const Moments& m : bench.optimizer.moments()) {
    for (const Tensor& t : {m.first.tensor(), m.second.tensor()}) {
      for (float value : test::values(t)) ASSERT_EQ(value, 0);
    }
  }
}

TEST(Optimizer, RefusesValuesOutsideTheirRange) {
  EXPECT_THROW(check(OptimizerConfig{.lr = -1}, "test"), InputError);
  EXPECT_THROW(check(OptimizerConfig{.beta2 = 1}, "test"), InputError);
  EXPECT_THROW(check(OptimizerConfig{.eps = 0}, "test"), InputError);
  EXPECT_THROW(check(OptimizerConfig{.clip = -1}, "test"), InputError);
}

}  // namespace
}  // namespace tandem
