#include "train/step.h"

#include <gtest/gtest.h>

#include <cmath>

#include "train/training_check.h"

namespace tandem {
namespace {

using test::Bench;

class StepOf : public testing::TestWithParam<Arch> {};

// Gradients of the same rows in one pass, in two and in four. Sums of 24 to 96 tokens' terms in other orders differ by
// a few times the machine epsilon of float32, 1.2e-7, times the size of the terms.
TEST_P(StepOf, DoesNotDependOnTheSplitIntoMicroBatches) {
  ModelConfig config = test::small_model(GetParam());
  Batch batch = test::random_batch(config, 4, 21);
  Bench whole(config);
  whole.step.accumulate(batch);
  StepResult expected = whole.step.finish(0);
  for (int64_t rows : {1, 2}) {
    Bench split(config);
    for (int64_t begin = 0; begin < 4; begin += rows) {
      split.step.accumulate(test::rows_of(batch, begin, begin + rows));
    }
    StepResult result = split.step.finish(0);
    EXPECT_EQ(result.tokens, expected.tokens);
    EXPECT_NEAR(result.loss, expected.loss, 1e-6);
    EXPECT_NEAR(result.grad_norm, expected.grad_norm, 1e-5 * expected.grad_norm);
    for (size_t i = 0; i < whole.model->parameters().all().size(); ++i) {
      const Parameter& p = whole.model->parameters().all()[i];
      std::vector<float> a = test::values(p.grad()), b = test::values(split.model->parameters().all()[i].grad());
      double difference = 0, norm = 0;
      for (size_t k = 0; k < a.size(); ++k) {
        difference += std::pow(static_cast<double>(a[k]) - b[k], 2);
        norm += std::pow(static_cast<double>(a[k]), 2);
      }
      EXPECT_LE(std::sqrt(difference), 1e-5 * std::sqrt(norm)) << p.name() << " in passes of " << rows;
      EXPECT_GT(norm, 0) << p.name();
    }
  }
}

// The mean is over tokens: micro-batches with few labels count less.
TEST_P(StepOf, WeighsMicroBatchesByTheirLabels) {
  ModelConfig config = test::small_model(GetParam());
  Batch many = test::random_batch(config, 1, 22), few = test::random_batch(config, 1, 23);
  for (size_t t = 0; t + 3 < few.labels.size(); ++t) few.labels[t] = kIgnoreLabel;
  Bench bench(config);
  ops::LossSum a = bench.step.accumulate(many), b = bench.step.accumulate(few);
  EXPECT_LT(b.tokens, 4);
  StepResult result = bench.step.finish(0);
  EXPECT_EQ(result.tokens, a.tokens + b.tokens);
  EXPECT_NEAR(result.loss, (a.sum + b.sum) / static_cast<double>(a.tokens + b.tokens), 1e-12);
}

TEST_P(StepOf, LearnsOneBatchByHeart) {
  ModelConfig config = test::small_model(GetParam());
  Batch batch = test::random_batch(config, 2, 24);
  Bench bench(config, {.lr = 1e-2, .weight_decay = 0});
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    bench.step.accumulate(batch);
    last = bench.step.finish(1).loss;
    if (step == 0) first = last;
  }
  EXPECT_GT(first, 3);
  EXPECT_LT(last, 0.5 * first);
}

TEST_P(StepOf, AsksTheSystemForNothingAfterTheFirstSteps) {
  ModelConfig config = test::small_model(GetParam());
  Bench bench(config);
  auto one = [&](uint64_t seed) {
    bench.step.accumulate(test::random_batch(config, 2, seed));
    bench.step.accumulate(test::random_batch(config, 2, seed + 1));
    bench.step.finish(1);
  };
  one(1);
  one(3);
  int64_t before = bench.tape.system_allocations(), scratch = bench.ctx.scratch().system_allocations();
  for (uint64_t seed = 5; seed < 15; seed += 2) one(seed);
  EXPECT_EQ(bench.tape.system_allocations(), before);
  EXPECT_EQ(bench.ctx.scratch().system_allocations(), scratch);
}

TEST_P(StepOf, HasTheSameBitsForAnyNumberOfThreads) {
  ModelConfig config = test::small_model(GetParam());
  for (Precision precision : {Precision::float32(), Precision::bfloat16()}) {
    if (precision == Precision::bfloat16() && !has_bf16_products(choose_isa())) continue;
    Bench one(config, {}, 1, precision), three(config, {}, 3, precision);
    for (uint64_t seed = 0; seed < 3; ++seed) {
      for (Bench* bench : {&one, &three}) {
        bench->step.accumulate(test::random_batch(config, 3, seed));
        bench->step.finish(1);
      }
    }
    EXPECT_TRUE(test::same_parameters(one.model->parameters(), three.model->parameters()));
  }
}

TEST_P(StepOf, SkipsAStepThatIsNotFinite) {
  ModelConfig config = test::small_model(GetParam());
  Bench bench(config);
  Parameter& broken = bench.model->parameters().all()[2];
  float before = broken.master().as<float>()[0];
  broken.master().as<float>()[0] = std::nanf("");
  bench.step.accumulate(test::random_batch(config, 2, 1));
  StepResult result = bench.step.finish(1);
  EXPECT_FALSE(result.applied);
  EXPECT_GT(result.tokens, 0);
  EXPECT_EQ(bench.optimizer.updates(), 0);
  broken.master().as<float>()[0] = before;
  Bench fresh(config);
  EXPECT_TRUE(test::same_parameters(bench.model->parameters(), fresh.model->parameters()));
  // The next step starts from clean gradients.
  for (Bench* b : {&bench, &fresh}) {
    b->step.accumulate(test::random_batch(config, 2, 2));
    EXPECT_TRUE(b->step.finish(1).applied);
  }
  EXPECT_TRUE(test::same_parameters(bench.model->parameters(), fresh.model->parameters()));
}

TEST_P(StepOf, WithoutLabelsChangesNothing) {
  ModelConfig config = test::small_model(GetParam());
  Bench bench(config), fresh(config);
  Batch batch = test::random_batch(config, 1, 1);
  for (int32_t& label : batch.labels) label = kIgnoreLabel;
  bench.step.accumulate(batch);
  StepResult result = bench.step.finish(1);
  EXPECT_FALSE(result.applied);
  EXPECT_EQ(result.tokens, 0);
  EXPECT_TRUE(test::same_parameters(bench.model->parameters(), fresh.model->parameters()));
}

INSTANTIATE_TEST_SUITE_P(Architectures, StepOf,
                         testing::Values(Arch::double_decoder, Arch::decoder, Arch::yoco, Arch::block_transformer),
                         [](const auto& arch) { return std::string(arch_name(arch.param)); });

}  // namespace
}  // namespace tandem
