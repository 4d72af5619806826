#include "train/sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "arch/model.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/toml.h"
#include "train/widths.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSweepConfig = "sweep.toml";
constexpr const char* kDiverged = "diverged.json";
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Cell {
  size_t width = 0;
  size_t rate = 0;
  int64_t seed = 0;
  RunConfig config;
  double cost = 0;  // proportional to the time that it takes
};

std::string cell_name(const Sweep& sweep, const Cell& cell) {
  return fmt::format("{}-w{}-lr{}-s{}", sweep.mup ? "mup" : "sp", sweep.widths[cell.width], sweep.rates[cell.rate],
                     cell.seed);
}

RunConfig cell_config(const Sweep& sweep, const Cell& cell) {
  RunConfig config = sweep.base;
  config.output = (fs::path(sweep.base.output) / "cells" / cell_name(sweep, cell)).string();
  config.model = with_mup(at_width(sweep.base.model, sweep.widths[cell.width]), sweep.mup, sweep.base.model.dim);
  config.optimizer.lr = sweep.rates[cell.rate];
  config.seed = cell.seed;
  config.eval_every = 0;  // the end is what counts
  config.keep_checkpoints = 1;
  config.keep_best = false;
  config.tensorboard = false;
  // A rollback lowers the rate, and the cell would stand for another one than its own.
  config.guard.max_rollbacks = 0;
  return config;
}

double cost_of(const RunConfig& config, int64_t vocab) {
  ModelConfig model = config.model;
  model.fit_tokenizer(vocab);
  return make_model(model, Precision::float32(), ParameterStore::Gradients::none, "study sweep")
      ->costs()
      .flops_per_training_token;
}

// Widths one after the other, each with all its rates: what is there after an interruption is whole curves.
std::vector<Cell> cells_of(const Sweep& sweep, int64_t vocab) {
  std::vector<Cell> cells;
  for (size_t w = 0; w < sweep.widths.size(); ++w) {
    double cost = 0;
    for (size_t r = 0; r < sweep.rates.size(); ++r) {
      for (int64_t s = 0; s < sweep.seeds; ++s) {
        Cell cell{.width = w, .rate = r, .seed = sweep.base.seed + s};
        cell.config = cell_config(sweep, cell);
        if (cost == 0) cost = cost_of(cell.config, vocab);
        cell.cost = cost;
        cells.push_back(std::move(cell));
      }
    }
  }
  return cells;
}

RunConfig read_config(const fs::path& file) {
  RunConfig config;
  FieldList fields;
  list_fields(fields, config);
  apply_toml(fields, file);
  return config;
}

// What a sweep's cells share: the length too, which a single run may change, but not the rate, which is theirs.
std::string sweep_difference(const RunConfig& a, RunConfig b) {
  b.optimizer.lr = a.optimizer.lr;
  std::string key = first_difference(a, b);
  if (!key.empty()) return key;
  if (a.steps != b.steps) return "steps";
  if (a.tokens != b.tokens) return "tokens";
  if (a.epochs != b.epochs) return "epochs";
  return "";
}

void check_folder(const Sweep& sweep) {
  fs::path file = fs::path(sweep.base.output) / kSweepConfig;
  if (!fs::exists(file)) return;
  std::string key = sweep_difference(read_config(file), sweep.base);
  if (key.empty()) return;
  throw InputError({.what = fmt::format("the output folder holds another sweep: '{}' differs", key),
                    .where = sweep.base.output,
                    .hint = "choose another folder with --output"});
}

class SweepRunner {
 public:
  SweepRunner(Context& ctx, const Sweep& sweep, const RunData& data, const SweepHooks& hooks)
      : ctx_(ctx), sweep_(sweep), data_(data), hooks_(hooks), cells_(cells_of(sweep, data.tokenizer.vocab_size())) {
    for (const Cell& cell : cells_) cost_left_ += cell.cost;
    sums_.assign(sweep.widths.size(), std::vector<double>(sweep.rates.size(), 0));
    counts_.assign(sweep.widths.size(), std::vector<int64_t>(sweep.rates.size(), 0));
  }

  SweepResult run() {
    for (const Cell& cell : cells_) {
      if (!run_cell(cell)) {
        result_.stopped = true;
        break;
      }
    }
    finish();
    return std::move(result_);
  }

 private:
  // False: stopped.
  bool run_cell(const Cell& cell) {
    SweepRun run{.width = sweep_.widths[cell.width], .rate = sweep_.rates[cell.rate], .seed = cell.seed};
    fs::path diverged = fs::path(cell.config.output) / kDiverged;
    if (!fs::exists(diverged)) {
      try {
        TrainResult result = train(ctx_, cell.config, data_, hooks_of(cell));
        if (result.end == TrainResult::End::stopped) return false;
        if (result.heldout && std::isfinite(result.heldout->loss)) run.loss = result.heldout->loss;
        if (result.end == TrainResult::End::finished) {
          seconds_ += result.seconds;
          cost_done_ += cell.cost;
        }
      } catch (const Diverged& error) {
        write_file_atomically(diverged, OrderedJson{{"reason", error.what()}}.dump() + "\n");
      }
    }
    cost_left_ -= cell.cost;
    sums_[cell.width][cell.rate] += run.loss.value_or(kNaN);
    ++counts_[cell.width][cell.rate];
    result_.runs.push_back(run);
    if (hooks_.finished) {
      hooks_.finished(run, static_cast<int64_t>(result_.runs.size()), static_cast<int64_t>(cells_.size()));
    }
    return true;
  }

  TrainHooks hooks_of(const Cell& cell) const {
    TrainHooks hooks;
    hooks.validate = hooks_.validate;
    hooks.should_stop = hooks_.should_stop;
    hooks.notice = [](const std::string&) {};
    hooks.progress = [this, &cell](const TrainProgress& p) {
      if (!hooks_.progress) return;
      TrainProgress whole = p;
      double done = cost_done_ + cell.cost * p.fraction;
      double rest = cost_left_ - cell.cost * p.fraction;
      if (done > 0) whole.seconds_left = (seconds_ + p.seconds) * rest / done;
      hooks_.progress(whole);
    };
    return hooks;
  }

  void finish() {
    for (size_t w = 0; w < sweep_.widths.size(); ++w) {
      std::vector<double> losses;
      for (size_t r = 0; r < sweep_.rates.size(); ++r) {
        bool all = counts_[w][r] == sweep_.seeds;
        losses.push_back(all ? sums_[w][r] / static_cast<double>(sweep_.seeds) : kNaN);
      }
      if (auto optimum = find_optimum(sweep_.widths[w], sweep_.rates, losses)) result_.optima.push_back(*optimum);
      result_.losses.push_back(std::move(losses));
    }
  }

  Context& ctx_;
  const Sweep& sweep_;
  const RunData& data_;
  const SweepHooks& hooks_;
  std::vector<Cell> cells_;
  double cost_left_ = 0;
  double cost_done_ = 0;  // by this start
  double seconds_ = 0;    // spent on it
  std::vector<std::vector<double>> sums_;
  std::vector<std::vector<int64_t>> counts_;
  SweepResult result_;
};

}  // namespace

void check(const Sweep& sweep) {
  auto refuse = [](const char* what, const std::string& got, const char* expected) {
    throw InputError({.what = what, .where = "study sweep", .got = got, .expected = expected});
  };
  if (sweep.widths.empty()) refuse("widths", "none", "one or more");
  if (sweep.rates.empty()) refuse("rates", "none", "one or more");
  for (double rate : sweep.rates) {
    if (!(rate > 0) || !std::isfinite(rate)) refuse("rate", fmt::format("{}", rate), "more than 0");
  }
  if (!std::is_sorted(sweep.rates.begin(), sweep.rates.end(), std::less_equal<>())) {
    refuse("rates", fmt::format("{}", fmt::join(sweep.rates, " ")), "ascending, each once");
  }
  if (!std::is_sorted(sweep.widths.begin(), sweep.widths.end(), std::less_equal<>())) {
    refuse("widths", fmt::format("{}", fmt::join(sweep.widths, " ")), "ascending, each once");
  }
  for (int64_t width : sweep.widths) at_width(sweep.base.model, width);
  total_steps(sweep.base, 0);
  if (sweep.base.max_seconds > 0) refuse("length", "max_seconds", "steps, tokens or epochs: the same for all widths");
  check_folder(sweep);
}

std::optional<SweepOptimum> find_optimum(int64_t width, std::span<const double> rates, std::span<const double> losses) {
  size_t best = rates.size();
  for (size_t i = 0; i < rates.size(); ++i) {
    if (std::isfinite(losses[i]) && (best == rates.size() || losses[i] < losses[best])) best = i;
  }
  if (best == rates.size()) return std::nullopt;
  SweepOptimum optimum{.width = width, .rate = rates[best], .loss = losses[best]};
  optimum.fitted_rate = optimum.rate;
  optimum.fitted_loss = optimum.loss;
  optimum.at_edge = best == 0 || best + 1 == rates.size();
  if (optimum.at_edge || !std::isfinite(losses[best - 1]) || !std::isfinite(losses[best + 1])) return optimum;
  // Newton's form of the parabola through three points.
  double x0 = std::log(rates[best - 1]), x1 = std::log(rates[best]), x2 = std::log(rates[best + 1]);
  double first = (losses[best] - losses[best - 1]) / (x1 - x0), second = (losses[best + 1] - losses[best]) / (x2 - x1);
  double curvature = (second - first) / (x2 - x0);
  if (!(curvature > 0)) return optimum;
  double x = (x0 + x1) / 2 - first / (2 * curvature);
  optimum.fitted_rate = std::exp(x);
  optimum.fitted_loss = losses[best - 1] + first * (x - x0) + curvature * (x - x0) * (x - x1);
  return optimum;
}

SweepResult run_sweep(Context& ctx, const Sweep& sweep, const RunData& data, const SweepHooks& hooks) {
  check(sweep);
  if (!hooks.validate) throw LogicError({.what = "run_sweep: no validation"});
  create_folder(sweep.base.output);
  fs::path file = fs::path(sweep.base.output) / kSweepConfig;
  if (!fs::exists(file)) write_file_atomically(file, to_toml(sweep.base));
  return SweepRunner(ctx, sweep, data, hooks).run();
}

OrderedJson to_json(const Sweep& sweep, const SweepResult& result) {
  auto number = [](double value) { return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr); };
  OrderedJson json{{"output", sweep.base.output}, {"parametrisation", sweep.mup ? "mup" : "standard"},
                   {"widths", sweep.widths},      {"rates", sweep.rates},
                   {"seeds", sweep.seeds},        {"stopped", result.stopped}};
  for (const std::vector<double>& row : result.losses) {
    OrderedJson losses = OrderedJson::array();
    for (double loss : row) losses.push_back(number(loss));
    json["losses"].push_back(losses);
  }
  json["optima"] = OrderedJson::array();
  for (const SweepOptimum& o : result.optima) {
    json["optima"].push_back({{"width", o.width},
                              {"rate", o.rate},
                              {"loss", o.loss},
                              {"fitted_rate", o.fitted_rate},
                              {"fitted_loss", o.fitted_loss},
                              {"at_edge", o.at_edge}});
  }
  json["runs"] = OrderedJson::array();
  for (const SweepRun& run : result.runs) {
    json["runs"].push_back({{"width", run.width},
                            {"rate", run.rate},
                            {"seed", run.seed},
                            {"loss", run.loss ? OrderedJson(*run.loss) : OrderedJson(nullptr)}});
  }
  return json;
}

}  // namespace tandem
