#include "train/guard.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/json.h"

namespace tandem {
namespace {

StepResult good(double loss, double norm = 1) {
  return {.loss = loss, .grad_norm = norm, .tokens = 10, .applied = true};
}
StepResult bad() { return {.loss = std::nan(""), .grad_norm = std::nan(""), .tokens = 10, .applied = false}; }

// Losses around 3 with a spread of 0.2, norms around 1.
GuardState after_good_steps(const GuardConfig& config, int steps) {
  GuardState state;
  for (int i = 0; i < steps; ++i) {
    Judgement judgement = judge(config, state, good(3 + 0.1 * (i % 3 - 1), 1 + 0.1 * (i % 2)));
    EXPECT_EQ(judgement.divergence, "");
    EXPECT_EQ(judgement.outlier_over, 0);
  }
  return state;
}

TEST(Guard, RemembersAWindowOfGoodSteps) {
  GuardConfig config{.window = 20};
  GuardState state = after_good_steps(config, 50);
  EXPECT_EQ(state.losses.size(), 20);
  EXPECT_EQ(state.norms.size(), 20);
  EXPECT_EQ(state.losses.back(), 3 + 0.1 * (49 % 3 - 1));
  EXPECT_TRUE(state.calm());
}

TEST(Guard, StepsInARowThatAreNotFiniteAreADivergence) {
  GuardConfig config{.skipped_steps = 3};
  GuardState state = after_good_steps(config, 2);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(judge(config, state, bad()).divergence, "");
      EXPECT_FALSE(state.calm());
    }
    if (round == 0) {
      EXPECT_EQ(judge(config, state, good(3)).divergence, "");
      EXPECT_TRUE(state.calm());
    }
  }
  std::string divergence = judge(config, state, bad()).divergence;
  EXPECT_NE(divergence.find("3 steps in a row"), std::string::npos) << divergence;
}

TEST(Guard, HighLossesInARowAreADivergence) {
  GuardConfig config{.loss_margin = 1.5, .high_steps = 4};
  GuardState state = after_good_steps(config, 30);
  std::vector<double> before = state.losses;
  EXPECT_EQ(judge(config, state, good(4.4)).divergence, "");  // within the margin
  EXPECT_TRUE(state.calm());
  before = state.losses;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(judge(config, state, good(4.6)).divergence, "");
    EXPECT_FALSE(state.calm());
  }
  EXPECT_EQ(state.losses, before) << "high losses must not move the median";
  EXPECT_NE(judge(config, state, good(4.6)).divergence, "");
}

TEST(Guard, CountsTroubleOfBothKinds) {
  GuardConfig config;
  GuardState state = after_good_steps(config, 30);
  for (const StepResult& step : {good(9), bad(), good(9), bad()}) judge(config, state, step);
  EXPECT_EQ(state.troubled_in_row, 4);
  EXPECT_EQ(state.high_in_row, 2);
  EXPECT_EQ(state.skipped_in_row, 1);
  judge(config, state, good(3));
  EXPECT_EQ(state.troubled_in_row, 0);
  EXPECT_EQ(state.high_in_row, 0);
}

TEST(Guard, OneCalmLossEndsARowOfHighOnes) {
  GuardConfig config{.high_steps = 4};
  GuardState state = after_good_steps(config, 30);
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(judge(config, state, good(9)).divergence, "");
    EXPECT_EQ(judge(config, state, good(3)).divergence, "");
    EXPECT_TRUE(state.calm());
  }
}

TEST(Guard, JudgesNoLossBeforeItHasMedians) {
  GuardConfig config{.high_steps = 1};
  GuardState state;
  for (int i = 0; i < kStepsBeforeMedians; ++i) {
    EXPECT_EQ(judge(config, state, good(i % 2 == 0 ? 1 : 50)).divergence, "") << i;
  }
  EXPECT_NE(judge(config, state, good(60)).divergence, "");
}

TEST(Guard, NamesOutliersOfTheGradient) {
  GuardConfig config{.outlier_factor = 10};
  GuardState state = after_good_steps(config, 30);
  EXPECT_EQ(judge(config, state, good(3, 10)).outlier_over, 0);
  Judgement judgement = judge(config, state, good(3, 12));
  EXPECT_NEAR(judgement.outlier_over, 1.05, 0.051);
  EXPECT_EQ(judgement.divergence, "");
  EXPECT_TRUE(state.calm());
}

TEST(Guard, ZeroSwitchesOff) {
  GuardConfig config{.skipped_steps = 0, .high_steps = 0, .outlier_factor = 0};
  GuardState state = after_good_steps(config, 30);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(judge(config, state, bad()).divergence, "");
    EXPECT_FALSE(state.calm());
    Judgement judgement = judge(config, state, good(50, 1e6));
    EXPECT_EQ(judgement.divergence, "");
    EXPECT_EQ(judgement.outlier_over, 0);
    EXPECT_TRUE(state.calm());
  }
}

TEST(Guard, StepsWithoutLabelsSayNothing) {
  GuardConfig config{.skipped_steps = 2};
  GuardState state = after_good_steps(config, 30);
  judge(config, state, bad());
  GuardState before = state;
  EXPECT_EQ(judge(config, state, StepResult{}).divergence, "");
  EXPECT_EQ(state, before);
}

TEST(Guard, ARollbackKeepsTheGoodMediansAndLowersTheRate) {
  GuardConfig config{.high_steps = 2, .rollback_lr = 0.5};
  GuardState good_state = after_good_steps(config, 20), state = after_good_steps(config, 30);
  for (int i = 0; i < 2; ++i) judge(config, state, good(9));
  GuardState once = after_rollback(config, good_state, state);
  EXPECT_TRUE(once.calm());
  EXPECT_EQ(once.losses, good_state.losses);
  EXPECT_EQ(once.rollbacks, 1);
  EXPECT_EQ(once.rate_scale, 0.5);
  // To the same checkpoint again: what it holds does not know of the first time.
  GuardState twice = after_rollback(config, good_state, once);
  EXPECT_EQ(twice.rollbacks, 2);
  EXPECT_EQ(twice.rate_scale, 0.25);
}

TEST(Guard, StateSurvivesJson) {
  GuardConfig config;
  GuardState state = after_good_steps(config, 30);
  state.losses.push_back(1.0 / 3);
  state.rate_scale = 0.1 + 0.2;
  state.rollbacks = 2;
  state.skipped_in_row = 1;
  state.high_in_row = 3;
  state.troubled_in_row = 4;
  EXPECT_EQ(guard_state_from_json(Json::parse(to_json(state).dump()), "test"), state);
  EXPECT_THROW(guard_state_from_json(Json::parse(R"({"losses": ["x"]})"), "test"), InputError);
}

TEST(Guard, RefusesValuesOutsideTheirRange) {
  EXPECT_NO_THROW(check(GuardConfig{}, "test"));
  EXPECT_THROW(check(GuardConfig{.window = 0}, "test"), InputError);
  EXPECT_THROW(check(GuardConfig{.skipped_steps = -1}, "test"), InputError);
  EXPECT_THROW(check(GuardConfig{.loss_margin = 0}, "test"), InputError);
  EXPECT_THROW(check(GuardConfig{.high_steps = -1}, "test"), InputError);
  EXPECT_THROW(check(GuardConfig{.outlier_factor = 0.5}, "test"), InputError);
  EXPECT_THROW(check(GuardConfig{.max_rollbacks = -1}, "test"), InputError);
  EXPECT_THROW(check(GuardConfig{.rollback_lr = 0}, "test"), InputError);
  EXPECT_THROW(check(GuardConfig{.rollback_lr = 1.5}, "test"), InputError);
}

}  // namespace
}  // namespace tandem
