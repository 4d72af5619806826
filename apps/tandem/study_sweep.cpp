// study sweep: the best learning rate at several widths.
#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "interrupt.h"
#include "output.h"
#include "pictures.h"
#include "study.h"
#include "train/init.h"
#include "train/progress.h"
#include "train/run_data.h"
#include "train/sweep.h"
#include "validation.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  StudyOptions study;
  std::vector<int64_t> widths{64, 128, 256};
  std::vector<double> rates{5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 16e-3};
  int64_t steps = 0;
  int64_t tokens = 0;
  int64_t seeds = 1;
  bool no_mup = false;
};

Sweep make_sweep(const Options& options) {
  Sweep sweep;
  sweep.base = load_run_config(options.study.config, options.study.overrides);
  if (options.steps > 0 || options.tokens > 0) {
    sweep.base.steps = options.steps;
    sweep.base.tokens = options.tokens;
    sweep.base.epochs = 0;
  }
  sweep.base.output = options.study.output;
  sweep.widths = options.widths;
  sweep.rates = options.rates;
  sweep.seeds = options.seeds;
  sweep.mup = !options.no_mup;
  return sweep;
}

// Losses that are far above the best would flatten what matters.
double highest_shown(const SweepResult& result) {
  double best = std::numeric_limits<double>::infinity(), most = -best;
  for (const SweepOptimum& o : result.optima) {
    best = std::min(best, o.loss);
    most = std::max(most, o.loss);
  }
  return most + std::max(0.5, 1.5 * (most - best));
}

LineChart draw(const Sweep& sweep, const SweepResult& result) {
  LineChart chart{.title = sweep.mup ? "Held-out loss by learning rate, muP"
                                     : "Held-out loss by learning rate, standard parametrisation",
                  .x_label = "base learning rate",
                  .y_label = "nats per token",
                  .x_scale = Scale::logarithmic,
                  .y_most = highest_shown(result)};
  for (size_t w = 0; w < sweep.widths.size(); ++w) {
    chart.series.push_back({.label = fmt::format("width {}", sweep.widths[w]),
                            .x = sweep.rates,
                            .y = result.losses[w],
                            .colour = static_cast<int>(w),
                            .style = LineStyle::markers});
  }
  Series optima{.label = "optimum", .colour = 2 * kPaletteSize - 1, .style = LineStyle::markers};
  for (const SweepOptimum& o : result.optima) {
    optima.x.push_back(o.fitted_rate);
    optima.y.push_back(o.fitted_loss);
  }
  chart.series.push_back(std::move(optima));
  return chart;
}

std::string table(const Sweep& sweep, const SweepResult& result) {
  std::string text = fmt::format("{:<8}", "width");
  for (double rate : sweep.rates) text += fmt::format("{:>10}", rate);
  text += fmt::format("{:>12}\n", "optimum");
  for (size_t w = 0; w < sweep.widths.size(); ++w) {
    text += fmt::format("{:<8}", sweep.widths[w]);
    for (double loss : result.losses[w]) {
      text += std::isfinite(loss) ? fmt::format("{:>10.4f}", loss) : fmt::format("{:>10}", "-");
    }
    for (const SweepOptimum& o : result.optima) {
      if (o.width == sweep.widths[w]) text += fmt::format("{:>12.3g}{}", o.fitted_rate, o.at_edge ? " (edge)" : "");
    }
    text += "\n";
  }
  return text;
}

int run(const Options& options) {
  Sweep sweep = make_sweep(options);
  check(sweep);
  InterruptScope interrupts;
  Context ctx(static_cast<int>(sweep.base.threads));
  fs::path folder = sweep.base.output;
  RunData data = prepare_run_data(sweep.base.data, ctx.pool(), folder);
  ProgressDisplay display;
  SweepHooks hooks;
  hooks.validate = validate;
  hooks.progress = [&](const TrainProgress& p) { display.show(p); };
  hooks.finished = [&](const SweepRun& r, int64_t done, int64_t all) {
    display.say(fmt::format("{}/{}  width {}, rate {}, seed {}: {}", done, all, r.width, r.rate, r.seed,
                            r.loss ? fmt::format("held-out loss {:.4f}", *r.loss) : "diverged"));
  };
  hooks.should_stop = interrupted;
  SweepResult result = run_sweep(ctx, sweep, data, hooks);
  OrderedJson json = to_json(sweep, result);
  std::string name = sweep.mup ? "sweep" : "sweep-standard";
  write_file_atomically(folder / (name + ".json"), json.dump(2) + "\n");
  if (!result.optima.empty()) write_chart(folder, name, draw(sweep, result));
  if (result.stopped) {
    fmt::print(stderr, "stopped after {} runs; the same command goes on\n", result.runs.size());
    return kInterruptedExit;
  }
  if (options.study.json) {
    write_json(json);
  } else {
    write_output(table(sweep, result) + fmt::format("\n{}\n", (folder / (name + ".svg")).string()));
  }
  return 0;
}

}  // namespace

void add_study_sweep(CLI::App& study, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = study.add_subcommand("sweep", "Learning rate times width; started again, go on where it stopped");
  add_study_options(*verb, options->study, "study-sweep");
  verb->add_option("--widths", options->widths, "Widths, ascending; multiples of the heads' size")
      ->expected(1, -1)
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 16));
  verb->add_option("--rates", options->rates, "Values of optimizer.lr, ascending")->expected(1, -1);
  verb->add_option("--steps", options->steps, "Length of each run in steps; left out: the config's")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  verb->add_option("--tokens", options->tokens, "The same in tokens")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50))
      ->excludes("--steps");
  verb->add_option("--seeds", options->seeds, "Seeds to average over")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  verb->add_flag("--no-mup", options->no_mup, "The standard parametrisation instead");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
