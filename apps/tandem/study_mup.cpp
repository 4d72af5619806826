// study mup: do activations, and what training changes about them, keep their size when the model gets wider?
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "interrupt.h"
#include "output.h"
#include "pictures.h"
#include "study.h"
#include "train/init.h"
#include "train/mup_study.h"
#include "train/run_data.h"
#include "train/widths.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  StudyOptions study;
  std::vector<int64_t> widths{64, 128, 256, 512};
  int64_t steps = 8;
  int64_t seeds = 2;
  bool no_mup = false;
  bool compare = false;
};

// Rows of training for the steps, and one more row for the measurements.
MupStudy make_study(const RunConfig& config, const RunData& data, const Options& options) {
  MupStudy study;
  study.model = model_config_of(config, data);
  study.widths = options.widths;
  study.steps = options.steps;
  study.seeds = options.seeds;
  study.optimizer = config.optimizer;
  RowStream rows = data.tokens.rows(config.model.max_seq_len, config.data.seed);
  for (int64_t step = 0; step < options.steps; ++step) study.batches.push_back(rows.next_batch(config.micro_batch));
  study.probe = rows.next_batch(1);
  for (Batch& batch : study.batches) batch.objective = objective_of(config);
  study.probe.objective = objective_of(config);
  return study;
}

OrderedJson to_json(const MupResult& result, bool mup) {
  OrderedJson json{{"parametrisation", mup ? "mup" : "standard"}, {"widths", result.widths}};
  for (const CoordinateSeries& s : result.activations) {
    json["activations"].push_back({{"name", s.name},
                                   {"sizes", s.sizes},
                                   {"size_slope", s.size_slope},
                                   {"changes", s.changes},
                                   {"first_change_slope", s.first_change_slope},
                                   {"change_slope", s.change_slope}});
  }
  json["losses"] = result.losses;
  return json;
}

std::string table(const MupResult& result, bool mup) {
  std::string text =
      fmt::format("\n{}: root mean square of each activation at the start, and of its change after {} steps\n\n",
                  mup ? "muP" : "standard parametrisation", result.activations.front().changes.size());
  text += fmt::format("{:<12}{:>9}", "", "slope");
  for (int64_t w : result.widths) text += fmt::format("{:>10}", w);
  text += fmt::format("{:>11}", "slope");
  for (int64_t w : result.widths) text += fmt::format("{:>10}", w);
  text += "\n";
  for (const CoordinateSeries& s : result.activations) {
    text += fmt::format("{:<12}{:>+9.2f}", s.name, s.size_slope);
    for (double v : s.sizes) text += fmt::format("{:>10.4f}", v);
    text += fmt::format("{:>+11.2f}", s.change_slope);
    for (double v : s.changes.back()) text += fmt::format("{:>10.4f}", v);
    text += "\n";
  }
  return text;
}

// muP in full lines, the standard parametrisation dashed.
void add_curves(LineChart& chart, const MupResult& result, bool mup, bool label) {
  std::vector<double> widths(result.widths.begin(), result.widths.end());
  int colour = 0;
  for (const CoordinateSeries& s : result.activations) {
    chart.series.push_back({.label = label ? s.name : "",
                            .x = widths,
                            .y = s.changes.back(),
                            .colour = mup ? colour : colour + kPaletteSize,
                            .style = LineStyle::markers});
    colour = (colour + 1) % kPaletteSize;
  }
}

int run(const Options& options) {
  RunConfig config = load_run_config(options.study.config, options.study.overrides);
  for (int64_t width : options.widths) at_width(config.model, width);  // before anything is written
  InterruptScope interrupts;
  Context ctx(static_cast<int>(config.threads));
  fs::path folder = options.study.output;
  create_folder(folder);
  RunData data = prepare_run_data(config.data, ctx.pool(), folder);
  MupStudy study = make_study(config, data, options);
  LineChart chart{.title = fmt::format("Change of activations in {} steps", options.steps),
                  .x_label = "width",
                  .y_label = options.compare  ? "root mean square; dashed: standard parametrisation"
                             : options.no_mup ? "root mean square, standard parametrisation"
                                              : "root mean square",
                  .x_scale = Scale::logarithmic,
                  .y_scale = Scale::logarithmic};
  OrderedJson json{{"output", options.study.output}, {"steps", options.steps}, {"seeds", options.seeds}};
  std::string report;
  std::vector<bool> kinds = options.compare ? std::vector<bool>{true, false} : std::vector<bool>{!options.no_mup};
  for (bool mup : kinds) {
    study.mup = mup;
    int64_t said = -1;
    auto progress = [&](double done) {
      auto tenth = static_cast<int64_t>(10 * done);
      if (std::exchange(said, tenth) != tenth) log::info("{}: {} %", mup ? "muP" : "standard", 10 * tenth);
    };
    MupResult result;
    try {
      result = run_mup_study(ctx, study, progress, interrupted);
    } catch (const Cancelled&) {
      return kInterruptedExit;
    }
    json["results"].push_back(to_json(result, mup));
    report += table(result, mup);
    add_curves(chart, result, mup, mup == kinds.front());
  }
  write_file_atomically(folder / "mup.json", json.dump(2) + "\n");
  write_chart(folder, "mup", chart);
  if (options.study.json) {
    write_json(json);
  } else {
    write_output(report + fmt::format("\n{}\n", (folder / "mup.svg").string()));
  }
  return 0;
}

}  // namespace

void add_study_mup(CLI::App& study, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = study.add_subcommand("mup", "Coordinate check: sizes of activations over the width");
  add_study_options(*verb, options->study, "study-mup");
  verb->add_option("--widths", options->widths, "Widths; multiples of the heads' size")
      ->expected(2, -1)
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 16));
  verb->add_option("--steps", options->steps, "Optimizer steps, at the full rate")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}))
      ->capture_default_str();
  verb->add_option("--seeds", options->seeds, "Seeds to average over")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  verb->add_flag("--no-mup", options->no_mup, "The standard parametrisation instead");
  verb->add_flag("--compare", options->compare, "Both, one after the other");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
