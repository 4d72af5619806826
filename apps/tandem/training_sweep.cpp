#include "training_sweep.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/statistics.h"
#include "output.h"
#include "pictures.h"
#include "train/init.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct Point {
  std::string value;
  TrainingSpeed speed;  // of the last round, with the steps of all

  double rate() const { return static_cast<double>(speed.tokens_per_step) / median(speed.step_seconds); }
  double flops() const { return rate() * speed.flops_per_token; }
};

struct Sweep {
  std::string key;
  std::vector<Point> points;
};

Sweep parse(const std::string& text) {
  size_t equals = text.find('=');
  Sweep sweep{.key = text.substr(0, equals), .points = {}};
  for (size_t at = equals; at != std::string::npos;) {
    size_t end = text.find(',', at + 1);
    sweep.points.push_back({.value = text.substr(at + 1, end == std::string::npos ? end : end - at - 1), .speed = {}});
    at = end;
  }
  bool empty = std::any_of(sweep.points.begin(), sweep.points.end(), [](const Point& p) { return p.value.empty(); });
  if (sweep.key.empty() || sweep.points.empty() || empty) {
    throw InputError({.what = "bad --sweep",
                      .got = text,
                      .expected = "KEY=V1,V2,..",
                      .hint = "for example --sweep model.max_seq_len=512,1024,2048"});
  }
  return sweep;
}

void measure(Communicator& ranks, const TrainingSweepOptions& options, const std::string& key, Point& point) {
  std::vector<std::string> overrides = options.overrides;
  overrides.push_back(key + "=" + point.value);
  RunConfig run = load_run_config(options.config, overrides);
  with_step_of(run, options.step_tokens, ranks.size());
  std::vector<double> earlier = point.speed.step_seconds;
  point.speed = measure_training(ranks, run, options.speed);
  point.speed.step_seconds.insert(point.speed.step_seconds.end(), earlier.begin(), earlier.end());
  if (ranks.rank() == 0) log::info("{}={}: {:.0f} tokens/s", key, point.value, point.rate());
}

// The FLOP/s that the values reach, in the middle.
double middle_flops(const Sweep& sweep) {
  std::vector<double> flops;
  for (const Point& point : sweep.points) flops.push_back(point.flops());
  return median(flops);
}

OrderedJson to_json(const Sweep& sweep, const std::string& config) {
  OrderedJson values = OrderedJson::array();
  double middle = middle_flops(sweep);
  for (const Point& point : sweep.points) {
    OrderedJson line{{"value", point.value}, {"flops_per_second", point.flops()}};
    line["against_median"] = point.flops() / middle;
    line.update(to_json(point.speed));
    values.push_back(line);
  }
  return {{"config", config}, {"key", sweep.key}, {"values", values}};
}

constexpr double kMiB = 1 << 20;

std::string as_markdown(const Sweep& sweep) {
  std::string text = fmt::format(
      "| {} | tokens/s | needed MFLOP per token | GFLOP/s | against the median | of the peak | peak memory, MiB | "
      "predicted |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n",
      sweep.key);
  double middle = middle_flops(sweep);
  for (const Point& point : sweep.points) {
    const TrainingSpeed& s = point.speed;
    text += fmt::format("| {} | {:.0f} | {:.1f} | {:.0f} | {:.2f} | {:.0f} % | {:.0f} | {:.0f} |\n", point.value,
                        point.rate(), s.flops_per_token / 1e6, point.flops() / 1e9, point.flops() / middle,
                        100 * point.flops() / s.peak_flops, static_cast<double>(s.peak_rss_bytes) / kMiB,
                        static_cast<double>(s.predicted.total()) / kMiB);
  }
  return text;
}

// "fixed:16" stands at 16; what has no number stands at its place in the list.
double position(const Point& point, size_t place) {
  size_t begin = point.value.find_first_of("0123456789");
  double value = static_cast<double>(place + 1);
  if (begin != std::string::npos) {
    std::from_chars(point.value.data() + begin, point.value.data() + point.value.size(), value);
  }
  return value;
}

void write_pictures(const Sweep& sweep, const fs::path& folder) {
  Series rate{.label = "measured", .colour = 0, .style = LineStyle::markers};
  Series needed{.label = "by the needed FLOPs", .colour = 1};
  Series held{.label = "measured", .colour = 0, .style = LineStyle::markers};
  Series predicted{.label = "predicted", .colour = 1};
  double middle = middle_flops(sweep);
  for (size_t i = 0; i < sweep.points.size(); ++i) {
    const Point& point = sweep.points[i];
    for (Series* series : {&rate, &needed, &held, &predicted}) series->x.push_back(position(point, i));
    rate.y.push_back(point.rate());
    needed.y.push_back(middle / point.speed.flops_per_token);
    held.y.push_back(static_cast<double>(point.speed.peak_rss_bytes) / kMiB);
    predicted.y.push_back(static_cast<double>(point.speed.predicted.total()) / kMiB);
  }
  write_chart(folder, "speed",
              {.title = "Training speed",
               .x_label = sweep.key,
               .y_label = "tokens/s",
               .x_scale = Scale::logarithmic,
               .y_scale = Scale::logarithmic,
               .series = {needed, rate}});
  write_chart(folder, "memory",
              {.title = "Peak memory of training",
               .x_label = sweep.key,
               .y_label = "MiB",
               .y_from_zero = true,
               .series = {predicted, held}});
}

}  // namespace

void with_step_of(RunConfig& run, int64_t tokens, int ranks) {
  if (tokens <= 0) return;
  const int64_t pass = run.micro_batch * run.model.max_seq_len;
  if (tokens % (pass * ranks) != 0) {
    throw InputError({.what = "a step that is not made of whole passes, as many for each rank",
                      .where = "--step-tokens",
                      .got = std::to_string(tokens),
                      .expected = fmt::format("a multiple of {} (micro_batch * max_seq_len * ranks)", pass * ranks)});
  }
  run.grad_accum = tokens / pass;
}

int training_sweep(Communicator& ranks, const TrainingSweepOptions& options) {
  Sweep sweep = parse(options.sweep);
  if (!options.output.empty() && ranks.rank() == 0) create_folder(options.output);
  TrainingSweepOptions all = options;
  all.speed.profile = false;
  for (int round = 0; round < options.rounds; ++round) {
    for (Point& point : sweep.points) measure(ranks, all, sweep.key, point);
  }
  if (ranks.rank() > 0) return 0;
  OrderedJson result = to_json(sweep, options.config);
  std::string table = as_markdown(sweep);
  if (!options.output.empty()) {
    write_file_atomically(fs::path(options.output) / "sweep.json", result.dump(2) + "\n");
    write_file_atomically(fs::path(options.output) / "sweep.md", table);
    write_pictures(sweep, options.output);
  }
  if (options.json) {
    write_json(result);
  } else {
    write_output(table);
  }
  return 0;
}

}  // namespace tandem::app
