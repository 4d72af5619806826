#include "training_sweep.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/statistics.h"
#include "base/toml.h"
#include "output.h"
#include "pictures.h"
#include "train/init.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

// The one key that is not of the config: the length of a row's documents.
constexpr std::string_view kDocuments = "documents";

struct Point {
  std::string value;
  std::vector<std::string> with;  // KEY=VALUE of what changes with it
  TrainingSpeed speed;            // of the last round, with the steps of all

  double rate() const { return static_cast<double>(speed.tokens_per_step) / median(speed.step_seconds); }
  // Of the fastest step. Values are compared by it: what else a machine does only ever slows steps down, and rarely the
  // same for all values.
  double best_rate() const {
    return static_cast<double>(speed.tokens_per_step) /
           *std::min_element(speed.step_seconds.begin(), speed.step_seconds.end());
  }
  double flops() const { return best_rate() * speed.flops_per_token; }
};

struct Sweep {
  std::string key;
  std::vector<Point> points;
};

struct Values {
  std::string key;
  std::vector<std::string> values;
};

Values parse(const std::string& text, const char* option) {
  size_t equals = text.find('=');
  Values all{.key = text.substr(0, equals), .values = {}};
  for (size_t at = equals; at != std::string::npos;) {
    size_t end = text.find(',', at + 1);
    all.values.push_back(text.substr(at + 1, end == std::string::npos ? end : end - at - 1));
    at = end;
  }
  bool empty = std::any_of(all.values.begin(), all.values.end(), [](const std::string& v) { return v.empty(); });
  if (all.key.empty() || all.values.empty() || empty) {
    throw InputError({.what = "no key and values",
                      .where = option,
                      .got = text,
                      .expected = "KEY=V1,V2,..",
                      .hint = fmt::format("for example {} model.max_seq_len=512,1024,2048", option)});
  }
  return all;
}

Sweep make_sweep(const TrainingSweepOptions& options) {
  Values swept = parse(options.sweep, "--sweep");
  Sweep sweep{.key = swept.key, .points = {}};
  for (const std::string& value : swept.values) sweep.points.push_back({.value = value, .with = {}, .speed = {}});
  for (const std::string& text : options.with) {
    Values with = parse(text, "--with");
    if (with.values.size() != sweep.points.size()) {
      throw InputError({.what = "not as many values as --sweep has",
                        .where = "--with",
                        .got = fmt::format("{} values of {}", with.values.size(), with.key),
                        .expected = fmt::format("{}", sweep.points.size())});
    }
    for (size_t i = 0; i < with.values.size(); ++i) sweep.points[i].with.push_back(with.key + "=" + with.values[i]);
  }
  return sweep;
}

struct Measurement {
  RunConfig run;
  SpeedOptions speed;
};

// InputError for a value that cannot be measured.
Measurement measurement_of(const TrainingSweepOptions& options, const std::string& key, const Point& point, int ranks) {
  std::vector<std::string> overrides = options.overrides;
  overrides.insert(overrides.end(), point.with.begin(), point.with.end());
  SpeedOptions speed = options.speed;
  if (key == kDocuments) {
    FieldList fields;
    fields.add(std::string(kDocuments), speed.documents, "tokens");
    apply_override(fields, key + "=" + point.value);
  } else {
    overrides.push_back(key + "=" + point.value);
  }
  RunConfig run = load_run_config(options.config, overrides);
  with_step_of(run, options.step_tokens, ranks);
  check_documents(speed.documents, run.model.max_seq_len);
  return {std::move(run), speed};
}

void measure(Communicator& ranks, const TrainingSweepOptions& options, const std::string& key, Point& point) {
  Measurement m = measurement_of(options, key, point, ranks.size());
  std::vector<double> earlier = point.speed.step_seconds;
  point.speed = measure_training(ranks, m.run, m.speed);
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
      "| {} | tokens/s, median | fastest step | needed MFLOP per token | GFLOP/s, fastest | against the median | of "
      "the "
      "peak | peak memory, MiB | predicted |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
      sweep.key);
  double middle = middle_flops(sweep);
  for (const Point& point : sweep.points) {
    const TrainingSpeed& s = point.speed;
    text += fmt::format("| {} | {:.0f} | {:.0f} | {:.1f} | {:.0f} | {:.2f} | {:.0f} % | {:.0f} | {:.0f} |\n",
                        point.value, point.rate(), point.best_rate(), s.flops_per_token / 1e6, point.flops() / 1e9,
                        point.flops() / middle, 100 * point.flops() / s.peak_flops,
                        static_cast<double>(s.peak_rss_bytes) / kMiB, static_cast<double>(s.predicted.total()) / kMiB);
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
    rate.y.push_back(point.best_rate());
    needed.y.push_back(middle / point.speed.flops_per_token);
    held.y.push_back(static_cast<double>(point.speed.peak_rss_bytes) / kMiB);
    predicted.y.push_back(static_cast<double>(point.speed.predicted.total()) / kMiB);
  }
  // On a narrow axis noise would look like a difference.
  const auto [least, most] = std::minmax_element(rate.y.begin(), rate.y.end());
  const bool wide = *most > 2 * *least;
  write_chart(folder, "speed",
              {.title = "Training speed",
               .x_label = sweep.key,
               .y_label = "tokens/s",
               .x_scale = Scale::logarithmic,
               .y_scale = wide ? Scale::logarithmic : Scale::linear,
               .y_from_zero = !wide,
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
  Sweep sweep = make_sweep(options);
  if (!options.output.empty() && ranks.rank() == 0) create_folder(options.output);
  TrainingSweepOptions all = options;
  all.speed.profile = false;
  // Every value is read before the first one is measured.
  for (const Point& point : sweep.points) measurement_of(all, sweep.key, point, ranks.size());
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
