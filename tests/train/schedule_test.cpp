#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/json.h"

namespace tandem {
namespace {

TEST(Schedule, FollowsTheFormula) {
  ScheduleConfig config;
  EXPECT_EQ(warmup_steps(config, 60), 3);
  EXPECT_EQ(warmup_steps(config, 10), 1);  // never less than one step
  EXPECT_EQ(rate_factor(config, 0, 60), 0);
  EXPECT_DOUBLE_EQ(rate_factor(config, 1, 60), 1.0 / 3);
  EXPECT_DOUBLE_EQ(rate_factor(config, 3, 60), 1);
  EXPECT_DOUBLE_EQ(rate_factor(config, 4, 60), 1 - 0.9 * 1 / 57);
  EXPECT_DOUBLE_EQ(rate_factor(config, 59, 60), 1 - 0.9 * 56 / 57);
  EXPECT_DOUBLE_EQ(rate_factor(config, 60, 60), 0.1);
  EXPECT_DOUBLE_EQ(rate_factor(config, 900, 60), 0.1);
}

TEST(Schedule, TakesAGivenWarmupAndStaysWhenConstant) {
  ScheduleConfig config;
  config.warmup_steps = 10;
  EXPECT_DOUBLE_EQ(rate_factor(config, 5, 100), 0.5);
  config.kind = ScheduleKind::constant;
  EXPECT_DOUBLE_EQ(rate_factor(config, 99, 100), 1);
}

TEST(Schedule, ByTheClockIsTheSameCurve) {
  ScheduleConfig config;
  for (int done = 0; done <= 1000; done += 50) {
    EXPECT_NEAR(rate_factor_at(config, done / 1000.0, done), rate_factor(config, done, 1000), 1e-12) << done;
  }
}

TEST(Schedule, ByTheClockEveryKindIsTheSameCurve) {
  for (ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::wsd, ScheduleKind::constant}) {
    ScheduleConfig config{.kind = kind, .decay_shape = DecayShape::minus_sqrt};
    for (int done = 0; done <= 1000; done += 25) {
      EXPECT_NEAR(rate_factor_at(config, done / 1000.0, done), rate_factor(config, done, 1000), 1e-12) << done;
    }
  }
}

// A number of steps is a number of steps, however long they take.
TEST(Schedule, ByTheClockAGivenWarmupCountsSteps) {
  ScheduleConfig config{.kind = ScheduleKind::cosine, .warmup_steps = 10, .floor = 0};
  EXPECT_EQ(rate_factor_at(config, 0.001, 0), 0);
  EXPECT_DOUBLE_EQ(rate_factor_at(config, 0.001, 5), 0.5);
  EXPECT_DOUBLE_EQ(rate_factor_at(config, 0.5, 5), 0.5);
  EXPECT_DOUBLE_EQ(rate_factor_at(config, 0.5, 500), 0.5);
  EXPECT_NEAR(rate_factor_at(config, 1, 500), 0, 1e-15);
}

TEST(Schedule, CosineIsHalfACosine) {
  ScheduleConfig config{.kind = ScheduleKind::cosine, .warmup_steps = 20, .floor = 0.2};
  EXPECT_DOUBLE_EQ(rate_factor(config, 10, 120), 0.5);
  EXPECT_DOUBLE_EQ(rate_factor(config, 20, 120), 1);
  EXPECT_NEAR(rate_factor(config, 45, 120), 0.2 + 0.8 * (1 + std::sqrt(0.5)) / 2, 1e-15);
  EXPECT_NEAR(rate_factor(config, 70, 120), 0.6, 1e-15);
  EXPECT_NEAR(rate_factor(config, 120, 120), 0.2, 1e-15);
  EXPECT_NEAR(rate_factor(config, 500, 120), 0.2, 1e-15);  // it does not rise again
}

TEST(Schedule, WsdStaysAndThenFalls) {
  ScheduleConfig config{.kind = ScheduleKind::wsd, .warmup_steps = 10, .floor = 0.1, .decay_fraction = 0.25};
  EXPECT_DOUBLE_EQ(rate_factor(config, 5, 100), 0.5);
  for (int done = 10; done <= 75; ++done) EXPECT_DOUBLE_EQ(rate_factor(config, done, 100), 1) << done;
  for (int done = 76; done <= 100; ++done) {
    double q = (done - 75) / 25.0;
    EXPECT_NEAR(rate_factor(config, done, 100), 1 - 0.9 * q, 1e-13) << done;
  }
  config.decay_shape = DecayShape::minus_sqrt;
  EXPECT_DOUBLE_EQ(rate_factor(config, 75, 100), 1);
  for (int done = 76; done <= 100; ++done) {
    EXPECT_NEAR(rate_factor(config, done, 100), 1 - 0.9 * std::sqrt((done - 75) / 25.0), 1e-13) << done;
  }
  EXPECT_NEAR(rate_factor(config, 400, 100), 0.1, 1e-15);
}

// The decay takes what the warmup leaves.
TEST(Schedule, WsdWithAWarmupThatReachesIntoTheDecay) {
  ScheduleConfig config{.kind = ScheduleKind::wsd, .warmup_steps = 50, .floor = 0, .decay_fraction = 0.8};
  EXPECT_DOUBLE_EQ(rate_factor(config, 25, 100), 0.5);
  EXPECT_DOUBLE_EQ(rate_factor(config, 50, 100), 1);
  EXPECT_DOUBLE_EQ(rate_factor(config, 75, 100), 0.5);
  EXPECT_DOUBLE_EQ(rate_factor(config, 100, 100), 0);
  EXPECT_DOUBLE_EQ(rate_factor({.kind = ScheduleKind::wsd, .warmup_steps = 100}, 50, 40), 0.5);
}

TEST(Schedule, IsThatOfTheAuthorsRun) {
  std::filesystem::path log = std::filesystem::path(TANDEM_SOURCE_DIR) / "../shared/golden/bdd_train/train_log.json";
  if (!std::filesystem::exists(log)) GTEST_SKIP() << "no recorded run";
  ScheduleConfig config;
  int64_t done = 0;
  Json recorded = read_json(log);
  for (const Json& step : recorded["steps"]) {
    double factor = rate_factor(config, done++, 60);
    EXPECT_NEAR(step["lr"][0].get<double>(), 0.004 * factor, 1e-9);
    EXPECT_NEAR(step["lr"][1].get<double>(), 0.002 * factor, 1e-9);
  }
  EXPECT_EQ(done, 20);
}

// The first steps of that run, for trees without it: warmup of 3 of 60 steps, base rate 0.004.
TEST(Schedule, IsThatOfTheAuthorsFirstSteps) {
  const double recorded[] = {0.0, 0.0013333333, 0.0026666667, 0.004, 0.0039368421};
  for (int done = 0; done < 5; ++done) EXPECT_NEAR(0.004 * rate_factor({}, done, 60), recorded[done], 1e-9);
}

TEST(Schedule, RefusesValuesOutsideTheirRange) {
  EXPECT_THROW(check(ScheduleConfig{.floor = 2}, "test"), InputError);
  EXPECT_THROW(check(ScheduleConfig{.warmup_fraction = -0.1}, "test"), InputError);
  EXPECT_THROW(check(ScheduleConfig{.warmup_steps = -1}, "test"), InputError);
  EXPECT_THROW(check(ScheduleConfig{.decay_fraction = 0}, "test"), InputError);
  EXPECT_THROW(check(ScheduleConfig{.decay_fraction = 1.5}, "test"), InputError);
}

}  // namespace
}  // namespace tandem
