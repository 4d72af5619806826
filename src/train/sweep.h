// Learning rate times width: the same short run for every pair, and where the best rate stands at each width.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "train/trainer.h"

namespace tandem {

struct Sweep {
  RunConfig base;  // `output` is the sweep's folder; cells are runs under cells/. at_width() makes the widths
  std::vector<int64_t> widths;
  std::vector<double> rates;  // values of optimizer.lr
  int64_t seeds = 1;          // base.seed and the ones after it; a cell is the mean over them
  bool mup = true;            // false: the standard parametrisation
};

struct SweepRun {
  int64_t width = 0;
  double rate = 0;
  int64_t seed = 0;
  std::optional<double> loss;  // held out, nats per token; empty: the run diverged
};

// The best rate of one width.
struct SweepOptimum {
  int64_t width = 0;
  double rate = 0;  // of the cells that were run
  double loss = 0;
  // The minimum of the parabola through the best cell and its neighbours, over the logarithm of the rate; the best cell
  // itself when it stands at the edge of the rates.
  double fitted_rate = 0;
  double fitted_loss = 0;
  bool at_edge = false;
};

struct SweepResult {
  bool stopped = false;  // by the caller's wish, some runs left
  std::vector<SweepRun> runs;
  // losses[w][r]: mean over seeds at widths[w], rates[r]; NaN where a seed diverged or is left.
  std::vector<std::vector<double>> losses;
  std::vector<SweepOptimum> optima;  // of widths with a finite loss
};

struct SweepHooks {
  decltype(TrainHooks::validate) validate;  // needed: the held-out loss is what cells are judged by
  // Of the run in progress; `seconds_left` is that of the whole sweep.
  std::function<void(const TrainProgress&)> progress;
  std::function<void(const SweepRun&, int64_t done, int64_t all)> finished;  // after each run
  std::function<bool()> should_stop;
};

// Runs what is not done yet: a run that stopped goes on, one that is finished is only read. The folder remembers the
// base config; InputError, naming the key, when it holds another sweep. Rates and widths may be added to an old one.
SweepResult run_sweep(Context& ctx, const Sweep& sweep, const RunData& data, const SweepHooks& hooks);

// Checks widths, rates and the folder before anything is prepared. InputError as in run_sweep.
void check(const Sweep& sweep);

// The minimum of losses over rates (ascending); empty without a finite loss.
std::optional<SweepOptimum> find_optimum(int64_t width, std::span<const double> rates, std::span<const double> losses);

OrderedJson to_json(const Sweep& sweep, const SweepResult& result);

}  // namespace tandem
