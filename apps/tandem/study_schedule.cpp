// study schedule: how the learning rate of a run will go.
#include <memory>

#include "base/file.h"
#include "base/json.h"
#include "output.h"
#include "pictures.h"
#include "study.h"
#include "train/init.h"
#include "train/schedule.h"

namespace tandem::app {
namespace {

constexpr int64_t kPoints = 400;

struct Options {
  StudyOptions study;
  bool all = false;
};

struct Curve {
  std::string label;
  ScheduleConfig schedule;
};

std::vector<Curve> curves_of(const RunConfig& config, bool all) {
  if (!all) return {{"", config.schedule}};
  std::vector<Curve> curves;
  auto add = [&](const char* label, ScheduleKind kind, DecayShape shape) {
    Curve curve{label, config.schedule};
    curve.schedule.kind = kind;
    curve.schedule.decay_shape = shape;
    curves.push_back(curve);
  };
  add("linear", ScheduleKind::linear, DecayShape::linear);
  add("cosine", ScheduleKind::cosine, DecayShape::linear);
  add("wsd", ScheduleKind::wsd, DecayShape::linear);
  add("wsd, 1-sqrt", ScheduleKind::wsd, DecayShape::minus_sqrt);
  add("constant", ScheduleKind::constant, DecayShape::linear);
  return curves;
}

// Rates of the steps 1..total, at most kPoints of them and always the last.
Series series_of(const Curve& curve, double lr, int64_t total, int colour) {
  Series series{.label = curve.label, .colour = colour};
  int64_t stride = std::max<int64_t>(1, total / kPoints);
  for (int64_t done = 0; done < total; done += stride) {
    series.x.push_back(static_cast<double>(done + 1));
    series.y.push_back(lr * rate_factor(curve.schedule, done, total));
  }
  series.x.push_back(static_cast<double>(total));
  series.y.push_back(lr * rate_factor(curve.schedule, total - 1, total));
  return series;
}

int run(const Options& options) {
  RunConfig config = load_run_config(options.study.config, options.study.overrides);
  if (config.steps == 0 && config.tokens == 0) config.steps = 1000;  // lengths that follow the text or the clock
  config.epochs = config.max_seconds = 0;
  int64_t total = total_steps(config, 0);
  LineChart chart{.title = "Learning rate", .x_label = "step", .y_label = "learning rate", .y_from_zero = true};
  OrderedJson json{{"output", options.study.output}, {"steps", total}};
  int colour = 0;
  for (const Curve& curve : curves_of(config, options.all)) {
    Series series = series_of(curve, config.optimizer.lr, total, colour++);
    json["schedules"].push_back({{"label", series.label}, {"step", series.x}, {"learning_rate", series.y}});
    chart.series.push_back(std::move(series));
  }
  create_folder(options.study.output);
  write_chart(options.study.output, "schedule", chart);
  if (options.study.json) {
    write_json(json);
  } else {
    write_output(fmt::format("{}/schedule.svg\n", options.study.output));
  }
  return 0;
}

}  // namespace

void add_study_schedule(CLI::App& study, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = study.add_subcommand("schedule", "Draw the learning rate of a config's steps");
  add_study_options(*verb, options->study, "study-schedule");
  verb->add_flag("--all", options->all, "Every kind of schedule with the config's other settings");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
