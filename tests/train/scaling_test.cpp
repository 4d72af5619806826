// The cost model of many ranks, against its formulas worked out by hand.
#include "train/scaling.h"

#include <gtest/gtest.h>

namespace tandem {
namespace {

// 1e9 parameters, 6e9 FLOPs per token, 1e6 tokens per step.
ScalingJob job() {
  return {.parameters = 1e9, .flops_per_token = 6e9, .tokens_per_step = 1e6, .passes = 1, .buckets = 10};
}

ScalingMachine machine(int ranks) { return {.ranks = ranks, .flops = 1e14, .bandwidth = 1e10, .latency = 1e-5}; }

TEST(Scaling, OneRankExchangesNothing) {
  ScalingPrediction p = predict(job(), machine(1));
  EXPECT_EQ(p.bytes_per_rank, 0);
  EXPECT_EQ(p.exchange_seconds, 0);
  EXPECT_DOUBLE_EQ(p.step_seconds, 60);
  EXPECT_DOUBLE_EQ(p.efficiency, 1);
}

TEST(Scaling, AnExchangeThatFitsBesideTheBackwardPassShowsItsLastBucket) {
  ScalingPrediction p = predict(job(), machine(4));
  EXPECT_DOUBLE_EQ(p.bytes_per_rank, 6e9);
  EXPECT_DOUBLE_EQ(p.compute_seconds, 15);
  EXPECT_DOUBLE_EQ(p.exchange_seconds, 0.6 + 2 * 10 * 3 * 1e-5);
  EXPECT_NEAR(p.exposed_seconds, 0.06006, 1e-12);
  EXPECT_NEAR(p.efficiency, 15 / 15.06006, 1e-12);
}

TEST(Scaling, WithZeroTheParametersTravelInTheOpen) {
  ScalingJob zero = job();
  zero.zero = true;
  ScalingPrediction p = predict(zero, machine(4));
  EXPECT_DOUBLE_EQ(p.bytes_per_rank, 6e9);
  EXPECT_NEAR(p.exposed_seconds, 0.3003 + 0.03003, 1e-12);
}

TEST(Scaling, OnlyTheLastBackwardPassHidesAnything) {
  ScalingJob many = job();
  many.passes = 100;
  // Two thirds of 15 seconds, over 100 passes.
  EXPECT_NEAR(predict(many, machine(4)).exposed_seconds, 0.6006 - 0.1, 1e-12);
}

TEST(Scaling, NarrowPipesTakeTheStep) {
  ScalingMachine slow = machine(4);
  slow.bandwidth = 1e8;
  ScalingPrediction p = predict(job(), slow);
  EXPECT_NEAR(p.exposed_seconds, 60.0006 - 10, 1e-9);
  EXPECT_NEAR(p.tokens_per_second, 1e6 / (15 + 50.0006), 1e-6);
}

}  // namespace
}  // namespace tandem
