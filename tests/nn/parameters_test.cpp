#include "nn/parameters.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace tandem::test {
namespace {

std::vector<float> values_of(const Parameter& p) {
  const float* data = p.master().as<float>();
  return {data, data + p.master().elements()};
}

struct Moments {
  double mean = 0, variance = 0, least = 0, most = 0;
};

Moments moments(const std::vector<float>& values) {
  Moments m;
  m.least = m.most = values[0];
  double sum = 0, squares = 0;
  for (double v : values) {
    sum += v;
    squares += v * v;
    m.least = std::min(m.least, v);
    m.most = std::max(m.most, v);
  }
  auto n = static_cast<double>(values.size());
  m.mean = sum / n;
  m.variance = squares / n - m.mean * m.mean;
  return m;
}

TEST(Parameters, XavierUniformHasItsBoundMeanAndVariance) {
  ParameterStore store;
  Parameter& p = store.add("w", {300, 200}, MupGroup::matrix, Initial::xavier_uniform);
  store.allocate(Precision::float32(), ParameterStore::Gradients::none);
  store.initialise(1);
  Moments m = moments(values_of(p));
  double bound = std::sqrt(2.0) * std::sqrt(6.0 / 500), n = 300 * 200;
  EXPECT_LE(m.most, bound);
  EXPECT_GE(m.least, -bound);
  // The gap between the bound and the largest of n uniform values is exponential with mean 2 bound / n.
  EXPECT_GT(m.most, bound * (1 - 40 / n));
  EXPECT_LT(m.least, -bound * (1 - 40 / n));
  // Five standard errors; the variance of a uniform's square is 4/45 bound^4.
  double variance = bound * bound / 3;
  EXPECT_NEAR(m.mean, 0, 5 * std::sqrt(variance / n));
  EXPECT_NEAR(m.variance, variance, 5 * bound * bound * std::sqrt(4.0 / 45 / n));
}

TEST(Parameters, OnesAndZeros) {
  ParameterStore store;
  Parameter& ones = store.add("a", {5}, MupGroup::vector, Initial::ones);
  Parameter& zeros = store.add("b", {5}, MupGroup::vector, Initial::zeros);
  store.allocate(Precision::float32(), ParameterStore::Gradients::none);
  store.initialise(1);
  EXPECT_EQ(values_of(ones), std::vector<float>(5, 1.0f));
  EXPECT_EQ(values_of(zeros), std::vector<float>(5, 0.0f));
}

struct TwoMatrices {
  ParameterStore store;
  Parameter& a = store.add("a", {40, 60}, MupGroup::matrix, Initial::xavier_uniform);
  Parameter& b = store.add("b", {40, 60}, MupGroup::matrix, Initial::xavier_uniform);
  explicit TwoMatrices(uint64_t seed, const Precision& precision = Precision::float32()) {
    store.allocate(precision, ParameterStore::Gradients::wanted);
    store.initialise(seed);
  }
};

TEST(Parameters, SameSeedSameNumbers) {
  TwoMatrices one(5), two(5), other(6);
  EXPECT_EQ(values_of(one.a), values_of(two.a));
  EXPECT_EQ(values_of(one.b), values_of(two.b));
  EXPECT_NE(values_of(one.a), values_of(other.a));
}

// Two parameters of one seed, and one parameter of two seeds, are uncorrelated: five standard errors.
TEST(Parameters, StreamsAreIndependent) {
  TwoMatrices one(5), other(6);
  auto correlation = [](const std::vector<float>& x, const std::vector<float>& y) {
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      xy += static_cast<double>(x[i]) * y[i];
      xx += static_cast<double>(x[i]) * x[i];
      yy += static_cast<double>(y[i]) * y[i];
    }
    return xy / std::sqrt(xx * yy);
  };
  double bound = 5 / std::sqrt(2400.0);
  EXPECT_LT(std::abs(correlation(values_of(one.a), values_of(one.b))), bound);
  EXPECT_LT(std::abs(correlation(values_of(one.a), values_of(other.a))), bound);
}

// A parameter's numbers depend on its place in the list, not on the sizes of those before it.
TEST(Parameters, NumbersDoNotDependOnEarlierSizes) {
  auto second = [](int64_t size_of_first) {
    ParameterStore store;
    store.add("first", {size_of_first, 3}, MupGroup::matrix, Initial::xavier_uniform);
    Parameter& p = store.add("second", {4, 4}, MupGroup::matrix, Initial::xavier_uniform);
    store.allocate(Precision::float32(), ParameterStore::Gradients::none);
    store.initialise(9);
    return values_of(p);
  };
  EXPECT_EQ(second(2), second(50));
}

TEST(Parameters, ComputeCopiesAreRoundedMasters) {
  TwoMatrices model(3, Precision::bfloat16());
  EXPECT_TRUE(model.a.has_own_compute());
  EXPECT_EQ(model.a.compute().dtype, DType::bf16);
  for (int64_t r = 0; r < 40; ++r) {
    for (int64_t i = 0; i < 60; ++i) {
      EXPECT_EQ(load_element(model.a.compute(), r, i), round_to_bf16(load_element(model.a.master(), r, i)));
    }
  }
}

TEST(Parameters, VectorsAndFloat32ModelsComputeWithTheMasters) {
  ParameterStore store;
  Parameter& norm = store.add("norm", {4}, MupGroup::vector, Initial::ones);
  Parameter& table = store.add("table", {4, 2}, MupGroup::embedding, Initial::xavier_uniform);
  store.allocate(Precision::bfloat16(), ParameterStore::Gradients::none);
  EXPECT_EQ(norm.compute().data, norm.master().data);
  EXPECT_NE(table.compute().data, table.master().data);
  EXPECT_EQ(table.table().value.data, table.master().data);
  EXPECT_EQ(table.weight().value.data, table.compute().data);
  EXPECT_FALSE(norm.grad().defined());
  TwoMatrices plain(1);
  EXPECT_EQ(plain.a.compute().data, plain.a.master().data);
}

TEST(Parameters, GradientsAreWideAndCleared) {
  TwoMatrices model(3, Precision::bfloat16());
  EXPECT_EQ(model.a.grad().dtype, DType::f32);
  store_element(model.a.grad(), 3, 4, 5.0);
  model.store.zero_gradients();
  EXPECT_EQ(load_element(model.a.grad(), 3, 4), 0);
}

TEST(Parameters, GroupsDecideOnDecay) {
  ParameterStore store;
  EXPECT_TRUE(store.add("a", {2, 2}, MupGroup::embedding, Initial::zeros).decays());
  EXPECT_TRUE(store.add("b", {2, 2}, MupGroup::matrix, Initial::zeros).decays());
  EXPECT_FALSE(store.add("c", {2}, MupGroup::vector, Initial::zeros).decays());
  EXPECT_EQ(store.elements(), 10);
}

TEST(Parameters, NamesAreFoundAndUnique) {
  TwoMatrices model(1);
  EXPECT_EQ(model.store.find("b"), &model.b);
  EXPECT_EQ(model.store.find("c"), nullptr);
  EXPECT_THROW(model.store.add("a", {1}, MupGroup::vector, Initial::ones), LogicError);
}

}  // namespace
}  // namespace tandem::test
