// Gradients of whole models: against differences of the loss, over micro-batches, over threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arch/model_check.h"

namespace tandem::test {
namespace {

class Gradient : public testing::TestWithParam<NamedConfig> {};

double loss_of(Model& model, Context& ctx, const Batch& batch) {
  Tape tape(ctx, model.parameters().precision(), Tape::Mode::no_grad);
  return model.loss(tape, batch).sum;
}

void add_gradient(Model& model, Context& ctx, const Batch& batch) {
  Tape tape(ctx, model.parameters().precision(), Tape::Mode::record);
  model.loss(tape, batch);
  tape.backward();
}

std::vector<double> gradient_of(const Parameter& p) {
  std::vector<double> out;
  for (int64_t r = 0; r < p.grad().rows(); ++r) {
    for (int64_t i = 0; i < p.grad().row_size(); ++i) out.push_back(load_element(p.grad(), r, i));
  }
  return out;
}

// Moves a matrix of the reference's compute copies by h times a direction of signs.
void move(const Parameter& p, double h) {
  for (int64_t r = 0; r < p.compute().rows(); ++r) {
    for (int64_t i = 0; i < p.compute().row_size(); ++i) {
      double sign = (r * 31 + i * 17) % 3 == 0 ? -1 : 1;
      store_element(p.compute(), r, i, load_element(p.compute(), r, i) + h * sign);
    }
  }
}

double along_signs(const Parameter& p) {
  double sum = 0;
  for (int64_t r = 0; r < p.grad().rows(); ++r) {
    for (int64_t i = 0; i < p.grad().row_size(); ++i) {
      sum += ((r * 31 + i * 17) % 3 == 0 ? -1 : 1) * load_element(p.grad(), r, i);
    }
  }
  return sum;
}

// In double, matrix by matrix: the slope of the loss along a direction of signs. A fourth-order quotient with step h is
// off by h^4 / 30 times the fifth derivative. A direction of n signs has norm sqrt(n), at most 64 here, so that h times
// it is at most 2^-10, as small as the step of the tests of single operations.
TEST_P(Gradient, AgreesWithDifferencesOfTheLoss) {
  Context ctx(2);
  auto model = random_model(GetParam().config, Precision::reference(), ParameterStore::Gradients::wanted);
  Batch batch = random_batch(model->config(), 2, 10, {3, 4, 8});
  batch.labels[5] = kIgnoreLabel;
  add_gradient(*model, ctx, batch);
  for (const Parameter& p : model->parameters().all()) {
    if (p.group() != MupGroup::matrix) continue;
    constexpr double kStep = 0x1p-16;
    auto f = [&](double h) {
      move(p, h);
      double loss = loss_of(*model, ctx, batch);
      move(p, -h);
      return loss;
    };
    double quotient = (8 * (f(kStep) - f(-kStep)) - (f(2 * kStep) - f(-2 * kStep))) / (12 * kStep);
    // Loss about 60, rounded to 2^-53 by each of its several hundred terms.
    double rounding = 18 / (12 * kStep) * 60 * 64 * 0x1p-53;
    EXPECT_NEAR(along_signs(p), quotient, rounding + 1e-7 * std::abs(quotient)) << p.name();
  }
}

double relative_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(error) / std::max(std::sqrt(norm), 1e-6);
}

// Rows of a batch in one pass or in several.
TEST_P(Gradient, DoesNotDependOnTheSplitIntoMicroBatches) {
  for (auto [precision, bound] : {std::pair{Precision::reference(), 1e-13}, std::pair{Precision::float32(), 1e-5}}) {
    Context ctx(2);
    auto whole = random_model(GetParam().config, precision, ParameterStore::Gradients::wanted);
    auto split = random_model(GetParam().config, precision, ParameterStore::Gradients::wanted);
    Batch batch = random_batch(whole->config(), 4, 10, {3, 4, 8});
    add_gradient(*whole, ctx, batch);
    for (auto [begin, end] : {std::pair{0, 1}, {1, 4}}) {
      Batch part = rows_of(whole->config(), batch, begin, end, {3, 4, 8});
      add_gradient(*split, ctx, part);
    }
    auto a = whole->parameters().all().begin();
    for (const Parameter& p : split->parameters().all()) {
      EXPECT_LE(relative_difference(gradient_of(p), gradient_of(*a)), bound) << p.name();
      ++a;
    }
  }
}

TEST_P(Gradient, SameBitsForAnyNumberOfThreads) {
  std::vector<std::vector<double>> runs;
  for (int threads : {1, 2, 5}) {
    Context ctx(threads);
    auto model = random_model(GetParam().config, Precision::float32(), ParameterStore::Gradients::wanted);
    add_gradient(*model, ctx, random_batch(model->config(), 3, 24, {3, 4, 8}));
    runs.emplace_back();
    for (const Parameter& p : model->parameters().all()) {
      std::vector<double> g = gradient_of(p);
      runs.back().insert(runs.back().end(), g.begin(), g.end());
    }
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_EQ(runs[0], runs[2]);
}

// The engine's promise: a step after the first asks the system for no memory.
TEST_P(Gradient, StepsAfterTheFirstAllocateNothing) {
  Context ctx(2);
  auto model = random_model(GetParam().config, Precision::float32(), ParameterStore::Gradients::wanted);
  Batch batch = random_batch(model->config(), 3, 24, {3, 4, 8});
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  int64_t first = 0;
  for (int step = 0; step < 4; ++step) {
    tape.reset();
    model->loss(tape, batch);
    tape.backward();
    int64_t now = tape.system_allocations() + ctx.scratch().system_allocations();
    if (step == 0) first = now;
    EXPECT_EQ(now, first) << "step " << step;
  }
}

// Bfloat16 is close to the reference that rounds where it rounds, and not the same as float32.
TEST_P(Gradient, Bfloat16StaysNearItsReference) {
  if (!has_bf16_products(choose_isa())) GTEST_SKIP() << "no bfloat16 products on this instruction set";
  Context ctx(2);
  Batch batch = random_batch(GetParam().config, 2, 20, {3, 4, 8});
  int64_t labelled = std::ranges::count_if(batch.loss_labels(), [](int32_t label) { return label != kIgnoreLabel; });
  double loss[3];
  Precision precisions[] = {Precision::bfloat16(), Precision::reference_bf16(), Precision::reference()};
  for (int i = 0; i < 3; ++i) {
    loss[i] = loss_of(*random_model(GetParam().config, precisions[i]), ctx, batch) / static_cast<double>(labelled);
  }
  // Per token; each of some ten roundings per layer is off by 2^-9 at random, which the mean over some 38 tokens evens
  // out.
  EXPECT_NEAR(loss[0], loss[1], 0.02);
  EXPECT_NEAR(loss[0], loss[2], 0.04);
  EXPECT_NE(loss[0], loss[2]);
}

INSTANTIATE_TEST_SUITE_P(Small, Gradient, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
