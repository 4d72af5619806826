// plot: the curves of training runs as SVG, PNG and one HTML page.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "formats/chart.h"
#include "formats/html.h"
#include "formats/run_log.h"
#include "output.h"
#include "verbs.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct PlotOptions {
  std::vector<std::string> runs;
  std::string output;
  bool log_tokens = false;
  bool json = false;
};

struct Run {
  std::string path;   // as the user named it
  std::string label;  // short and unlike the others'
  RunLog log;
  std::string config_name;  // of the file in the run's folder; "" when there is none
  std::string config;
};

struct NamedChart {
  std::string name;  // of the files, without extension
  LineChart chart;
};

// What a curve shows of each record. Every curve runs against the tokens seen.
template <class Record>
struct Curve {
  const char* label;  // of a single run's curve; "" for the run's name, by which several runs always go
  double Record::*value;
  LineStyle style;
};

std::string folder_name(const std::string& path) {
  fs::path full = fs::absolute(path).lexically_normal();
  return (full.has_filename() ? full.filename() : full.parent_path().filename()).string();
}

// The last folder of each path, or the whole path where two runs would be called alike.
void label_runs(std::vector<Run>& runs) {
  std::map<std::string, int> uses;
  for (const Run& run : runs) ++uses[folder_name(run.path)];
  for (Run& run : runs) {
    run.label = folder_name(run.path);
    if (uses[run.label] > 1) run.label = run.path;
  }
}

Run read_run(const std::string& path) {
  if (!fs::is_directory(path)) {
    throw InputError({.what = "not a run folder", .where = path, .expected = "a folder that holds log.jsonl"});
  }
  Run run{.path = path, .log = read_run_log(fs::path(path) / "log.jsonl")};
  if (!run.log.broken_end.empty()) log::warn("the last line is left out: {}", run.log.broken_end);
  if (run.log.training.empty() && run.log.heldout.empty()) {
    throw InputError({.what = "nothing to plot",
                      .where = (fs::path(path) / "log.jsonl").string(),
                      .got = "no line with a loss",
                      .hint = "has the run begun to train?"});
  }
  for (const char* name : {"config.toml", "config.json"}) {
    fs::path config = fs::path(path) / name;
    if (run.config_name.empty() && fs::is_regular_file(config)) {
      run.config_name = name;
      run.config = read_file(config);
    }
  }
  return run;
}

template <class Record>
void add_curve(LineChart& chart, const std::vector<Run>& runs, const std::vector<Record> RunLog::*records,
               const Curve<Record>& curve) {
  for (size_t i = 0; i < runs.size(); ++i) {
    Series series{.colour = static_cast<int>(i), .style = curve.style};
    bool any = false;
    for (const Record& record : runs[i].log.*records) {
      series.x.push_back(static_cast<double>(record.tokens));
      series.y.push_back(record.*(curve.value));
      any = any || std::isfinite(series.y.back());
    }
    if (!any) continue;
    series.label = runs.size() == 1 && *curve.label ? curve.label : runs[i].label;
    chart.series.push_back(std::move(series));
  }
}

// Training behind held-out loss. Of several runs each is named once, by its held-out curve when it has one.
void add_loss_curves(LineChart& chart, const std::vector<Run>& runs) {
  auto has_heldout = [](const Run& run) { return !run.log.heldout.empty(); };
  bool both = std::any_of(runs.begin(), runs.end(), has_heldout);
  add_curve(chart, runs, &RunLog::training,
            Curve<TrainingRecord>{"training", &TrainingRecord::loss, both ? LineStyle::faint : LineStyle::thin});
  if (runs.size() > 1 && both) {
    for (Series& series : chart.series) {
      if (has_heldout(runs[static_cast<size_t>(series.colour)])) series.label.clear();
    }
    chart.y_label += "; pale: training, with dots: held out";
  }
  const char* label = runs.size() > 1 ? "" : "held out";
  add_curve(chart, runs, &RunLog::heldout, Curve<HeldoutRecord>{label, &HeldoutRecord::loss, LineStyle::markers});
}

LineChart empty_chart(const char* title, const char* y_label, const PlotOptions& options) {
  return {.title = title,
          .x_label = "tokens seen",
          .y_label = y_label,
          .x_scale = options.log_tokens ? Scale::logarithmic : Scale::linear};
}

// The charts for which some run has values.
std::vector<NamedChart> draw_charts(const std::vector<Run>& runs, const PlotOptions& options) {
  std::vector<NamedChart> charts;
  auto keep = [&](const char* name, LineChart chart) {
    if (!chart.series.empty()) charts.push_back({name, std::move(chart)});
  };
  using Training = Curve<TrainingRecord>;
  using Heldout = Curve<HeldoutRecord>;

  LineChart loss = empty_chart("Loss", "nats per token", options);
  add_loss_curves(loss, runs);
  keep("loss", std::move(loss));

  LineChart bits = empty_chart("Held-out text", "bits per byte", options);
  add_curve(bits, runs, &RunLog::heldout, Heldout{"", &HeldoutRecord::bits_per_byte, LineStyle::markers});
  keep("heldout_bits_per_byte", std::move(bits));

  LineChart accuracy = empty_chart("Held-out accuracy", "share of tokens guessed right", options);
  add_curve(accuracy, runs, &RunLog::heldout, Heldout{"", &HeldoutRecord::accuracy, LineStyle::markers});
  keep("heldout_accuracy", std::move(accuracy));

  LineChart rate = empty_chart("Learning rate", "learning rate", options);
  rate.y_from_zero = true;
  add_curve(rate, runs, &RunLog::training, Training{"", &TrainingRecord::learning_rate, LineStyle::line});
  keep("learning_rate", std::move(rate));

  LineChart norm = empty_chart("Gradient norm", "norm before clipping", options);
  norm.y_scale = Scale::logarithmic;
  add_curve(norm, runs, &RunLog::training, Training{"", &TrainingRecord::grad_norm, LineStyle::thin});
  keep("grad_norm", std::move(norm));

  LineChart speed = empty_chart("Speed", "tokens per second", options);
  speed.y_from_zero = true;
  add_curve(speed, runs, &RunLog::training, Training{"", &TrainingRecord::tokens_per_second, LineStyle::thin});
  keep("tokens_per_second", std::move(speed));
  return charts;
}

double median_speed(const std::vector<TrainingRecord>& records) {
  std::vector<double> speeds;
  for (const TrainingRecord& record : records) {
    if (std::isfinite(record.tokens_per_second)) speeds.push_back(record.tokens_per_second);
  }
  if (speeds.empty()) return std::numeric_limits<double>::quiet_NaN();
  auto middle = speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2);
  std::nth_element(speeds.begin(), middle, speeds.end());
  return *middle;
}

// Where a run stands: its last records.
struct Final {
  int64_t step = 0;
  int64_t tokens = 0;
  TrainingRecord training;
  HeldoutRecord heldout;
  double best_heldout_loss = std::numeric_limits<double>::quiet_NaN();
  double tokens_per_second = std::numeric_limits<double>::quiet_NaN();
};

Final final_values(const Run& run) {
  Final out;
  if (!run.log.training.empty()) out.training = run.log.training.back();
  if (!run.log.heldout.empty()) out.heldout = run.log.heldout.back();
  out.step = std::max(out.training.step, out.heldout.step);
  out.tokens = std::max(out.training.tokens, out.heldout.tokens);
  for (const HeldoutRecord& record : run.log.heldout) {
    out.best_heldout_loss = std::fmin(out.best_heldout_loss, record.loss);
  }
  out.tokens_per_second = median_speed(run.log.training);
  return out;
}

std::string fixed(double value, int decimals) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, decimals) : "-";
}

const std::vector<std::string>& table_header() {
  static const std::vector<std::string> header{"run",  "steps",     "tokens",   "training loss", "held-out loss",
                                               "best", "bits/byte", "accuracy", "tokens/s"};
  return header;
}

std::vector<std::vector<std::string>> table_rows(const std::vector<Run>& runs) {
  std::vector<std::vector<std::string>> rows;
  for (const Run& run : runs) {
    Final f = final_values(run);
    rows.push_back({run.label, fmt::format("{}", f.step), short_number(static_cast<double>(f.tokens)),
                    fixed(f.training.loss, 4), fixed(f.heldout.loss, 4), fixed(f.best_heldout_loss, 4),
                    fixed(f.heldout.bits_per_byte, 4), fixed(f.heldout.accuracy, 4),
                    short_number(f.tokens_per_second)});
  }
  return rows;
}

std::string page(const std::vector<Run>& runs, const std::vector<NamedChart>& charts) {
  HtmlPage html(runs.size() == 1 ? "Training run " + runs[0].label : "Training runs");
  html.heading("Final values");
  html.table(table_header(), table_rows(runs));
  html.paragraph(
      "Losses are mean nats per labelled token: the training loss the mean over the steps of the log's last line, "
      "\"best\" the lowest held-out loss of the run. The speed is the median of the log's lines. Nothing is smoothed.");
  html.heading("Curves");
  for (const NamedChart& c : charts) html.drawing(chart_svg(c.chart), c.chart.title + ": " + c.chart.y_label);
  html.heading("Configs");
  for (const Run& run : runs) {
    if (!run.config_name.empty()) html.foldable(fmt::format("{}/{}", run.path, run.config_name), run.config);
  }
  return html.text();
}

std::vector<std::string> write_files(const fs::path& folder, const std::vector<Run>& runs,
                                     const std::vector<NamedChart>& charts) {
  create_folder(folder);
  std::vector<std::string> files;
  auto write = [&](const std::string& name, std::string_view bytes) {
    write_file_atomically(folder / name, bytes);
    files.push_back((folder / name).string());
  };
  for (const NamedChart& c : charts) {
    write(c.name + ".svg", chart_svg(c.chart));
    write(c.name + ".png", chart_png(c.chart));
  }
  write("index.html", page(runs, charts));
  return files;
}

OrderedJson result_json(const fs::path& folder, const std::vector<Run>& runs, const std::vector<std::string>& files) {
  auto number = [](double value) { return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr); };
  OrderedJson list = OrderedJson::array();
  for (const Run& run : runs) {
    Final f = final_values(run);
    list.push_back({{"run", run.path},
                    {"steps", f.step},
                    {"tokens", f.tokens},
                    {"loss", number(f.training.loss)},
                    {"heldout_loss", number(f.heldout.loss)},
                    {"best_heldout_loss", number(f.best_heldout_loss)},
                    {"heldout_bits_per_byte", number(f.heldout.bits_per_byte)},
                    {"heldout_accuracy", number(f.heldout.accuracy)},
                    {"tokens_per_second", number(f.tokens_per_second)}});
  }
  return {{"output", folder.string()}, {"files", files}, {"runs", list}};
}

std::string result_text(const fs::path& folder, const std::vector<Run>& runs, size_t files) {
  std::vector<std::vector<std::string>> rows = table_rows(runs);
  rows.insert(rows.begin(), table_header());
  std::vector<size_t> widths(table_header().size(), 0);
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    out += fmt::format("{:<{}}", row[0], widths[0]);
    for (size_t i = 1; i < row.size(); ++i) out += fmt::format("  {:>{}}", row[i], widths[i]);
    out += '\n';
  }
  return out + fmt::format("{} files in {}\n", files, folder.string());
}

int run_plot(const PlotOptions& options) {
  std::vector<Run> runs;
  for (const std::string& path : options.runs) runs.push_back(read_run(path));
  label_runs(runs);
  fs::path folder = options.output.empty() ? fs::path(options.runs[0]) / "plots" : fs::path(options.output);
  std::vector<std::string> files = write_files(folder, runs, draw_charts(runs, options));
  if (options.json) {
    write_json(result_json(folder, runs, files));
  } else {
    write_output(result_text(folder, runs, files.size()));
  }
  return 0;
}

}  // namespace

void add_plot_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<PlotOptions>();
  CLI::App* verb = app.add_subcommand("plot", "draw the curves of training runs as SVG, PNG and one HTML page");
  verb->add_option("RUN", options->runs, "run folders, as `train` writes them")->required();
  verb->add_option("--output", options->output, "folder for the files (default: plots/ in the first run)");
  verb->add_flag("--log", options->log_tokens, "logarithmic axis of tokens");
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &action] { action = [options] { return run_plot(*options); }; });
}

}  // namespace tandem::app
