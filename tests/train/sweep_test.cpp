#include "train/sweep.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::small_run;
using test::TemporaryFolder;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(Optimum, IsThatOfTheParabola) {
  // loss = 2 + (log2(rate) - log2(3e-3))^2
  std::vector<double> rates{5e-4, 1e-3, 2e-3, 4e-3, 8e-3}, losses;
  for (double rate : rates) losses.push_back(2 + std::pow(std::log2(rate / 3e-3), 2));
  SweepOptimum o = *find_optimum(64, rates, losses);
  EXPECT_EQ(o.width, 64);
  EXPECT_EQ(o.rate, 4e-3);
  EXPECT_NEAR(o.fitted_rate, 3e-3, 1e-12);
  EXPECT_NEAR(o.fitted_loss, 2, 1e-12);
  EXPECT_FALSE(o.at_edge);
}

TEST(Optimum, AtTheEdgeAndBesideAGapIsTheCell) {
  std::vector<double> rates{1, 2, 4, 8};
  SweepOptimum edge = *find_optimum(1, rates, std::vector<double>{4, 3, 2, 1});
  EXPECT_TRUE(edge.at_edge);
  EXPECT_EQ(edge.fitted_rate, 8);
  SweepOptimum gap = *find_optimum(1, rates, std::vector<double>{4, 3, 2, kNaN});
  EXPECT_FALSE(gap.at_edge);
  EXPECT_EQ(gap.fitted_rate, 4);
  EXPECT_EQ(gap.fitted_loss, 2);
  EXPECT_FALSE(find_optimum(1, rates, std::vector<double>{kNaN, kNaN, kNaN, kNaN}));
}

class SweepRuns : public testing::Test {
 protected:
  SweepRuns() : ctx_(2) {
    sweep_.base = small_run(folder_ / "sweep");
    sweep_.base.steps = 3;
    sweep_.base.data.cache = (folder_ / "tokens").string();
    sweep_.widths = {16, 32};
    sweep_.rates = {1e-3, 4e-3};
    hooks_.validate = test::plain_score;
    hooks_.finished = [this](const SweepRun&, int64_t done, int64_t all) {
      EXPECT_EQ(done, ++finished_);
      all_ = all;
    };
    hooks_.progress = [this](const TrainProgress&) { ++steps_; };
  }
  SweepResult run() {
    finished_ = steps_ = 0;
    RunData data = prepare_run_data(sweep_.base.data, ctx_.pool(), folder_ / "sweep");
    return run_sweep(ctx_, sweep_, data, hooks_);
  }

  TemporaryFolder folder_;
  Context ctx_;
  Sweep sweep_;
  SweepHooks hooks_;
  int64_t finished_ = 0, all_ = 0, steps_ = 0;
};

TEST_F(SweepRuns, EveryCellIsARunOfItsOwn) {
  SweepResult result = run();
  EXPECT_FALSE(result.stopped);
  EXPECT_EQ(all_, 4);
  EXPECT_EQ(steps_, 12);
  ASSERT_EQ(result.losses.size(), 2u);
  EXPECT_EQ(result.optima.size(), 2u);
  // The cell is the run that train makes of the same config.
  RunConfig config = sweep_.base;
  config.output = (folder_ / "alone").string();
  config.model.dim = 16;
  config.model.n_heads = 1;
  config.optimizer.lr = 4e-3;
  config.eval_every = 0;
  RunData data = prepare_run_data(config.data, ctx_.pool(), folder_ / "sweep");
  EXPECT_EQ(train(ctx_, config, data, test::quiet_hooks()).heldout->loss, result.losses[0][1]);
}

TEST_F(SweepRuns, WhatIsDoneIsNotRunAgain) {
  SweepResult first = run();
  SweepResult again = run();
  EXPECT_EQ(steps_, 0);
  EXPECT_EQ(again.losses, first.losses);
  // More rates and widths fill up what is missing.
  sweep_.rates = {1e-3, 2e-3, 4e-3};
  SweepResult more = run();
  EXPECT_EQ(steps_, 6);
  EXPECT_EQ(more.losses[0][2], first.losses[0][1]);
}

TEST_F(SweepRuns, StoppedAnywhereItGoesOn) {
  SweepResult whole = run();
  fs::rename(folder_ / "sweep", folder_ / "whole");
  int64_t last = 5;  // in the middle of the second cell
  hooks_.should_stop = [&] { return steps_ == last; };
  SweepResult part = run();
  EXPECT_TRUE(part.stopped);
  EXPECT_EQ(part.runs.size(), 1u);
  EXPECT_TRUE(std::isnan(part.losses[1][0]));
  hooks_.should_stop = {};
  SweepResult rest = run();
  EXPECT_EQ(steps_, 12 - last);
  EXPECT_EQ(rest.losses, whole.losses);
}

TEST_F(SweepRuns, SeedsAreAveraged) {
  sweep_.widths = {16};
  sweep_.rates = {4e-3};
  sweep_.seeds = 2;
  SweepResult result = run();
  ASSERT_EQ(result.runs.size(), 2u);
  EXPECT_NE(*result.runs[0].loss, *result.runs[1].loss);
  EXPECT_DOUBLE_EQ(result.losses[0][0], (*result.runs[0].loss + *result.runs[1].loss) / 2);
}

TEST_F(SweepRuns, AnotherSweepIsRefused) {
  sweep_.widths = {16};
  sweep_.rates = {4e-3};
  run();
  sweep_.base.steps = 4;
  EXPECT_NE(message_of<InputError>([&] { run(); }).find("'steps'"), std::string::npos);
  sweep_.base.steps = 3;
  sweep_.base.optimizer.weight_decay = 0.3;
  EXPECT_NE(message_of<InputError>([&] { run(); }).find("weight_decay"), std::string::npos);
  sweep_.base.optimizer.weight_decay = 0.1;
  sweep_.base.optimizer.lr = 0.5;  // the cells have their own
  EXPECT_NO_THROW(run());
}

TEST_F(SweepRuns, BadGridsAreRefused) {
  auto refused = [&](auto&& change) {
    Sweep bad = sweep_;
    change(bad);
    EXPECT_THROW(check(bad), InputError);
  };
  refused([](Sweep& s) { s.widths.clear(); });
  refused([](Sweep& s) { s.widths = {32, 16}; });
  refused([](Sweep& s) { s.widths = {17}; });
  refused([](Sweep& s) { s.rates = {2e-3, 1e-3}; });
  refused([](Sweep& s) { s.rates = {0}; });
  refused([](Sweep& s) { s.base.steps = 0; });
  refused([](Sweep& s) { s.base.max_seconds = 5; });
}

}  // namespace
}  // namespace tandem
