// What folding costs, for study folding.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/statistics.h"
#include "eval/folding_cost.h"
#include "study_folding.h"
#include "train/init.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

// A model in the middle of its work, once for each thing that becomes of the encoder's state.
struct Subject {
  FoldingCostSubject report;
  std::unique_ptr<Model> model;
  std::unique_ptr<Tape> tape;
  std::unique_ptr<FoldingLoad> kept, recomputed;

  FoldingLoad& load(const FoldingCostLine& line) { return line.encoder == EncoderState::keep ? *kept : *recomputed; }
};

// A folder is a model; anything else is a run config. With positions for what is measured, whatever the rows are.
std::unique_ptr<Model> make_subject(Context& ctx, const FoldingCostOptions& options, const std::string& path,
                                    int64_t& context) {
  bool is_folder = fs::is_directory(path);
  RunConfig run;
  if (!is_folder) run = load_run_config(path, {});
  ModelConfig config = is_folder ? read_model_config(path) : resolve_model(run);
  context = options.context > 0 ? options.context : config.max_seq_len;
  config.max_seq_len = std::max(config.max_seq_len, FoldingLoad::positions(context, context));
  Precision precision = chosen_precision(options.run.precision, ctx.isa());
  std::unique_ptr<Model> model;
  if (is_folder) {
    model = load_model(path, config, precision, ParameterStore::Gradients::none);
  } else {
    model = make_model(config, precision, ParameterStore::Gradients::none, path);
    model->parameters().initialise(static_cast<uint64_t>(run.seed));
  }
  model->parameters().pack(ctx, weight_format(options.run.quantize, precision));
  return model;
}

Subject prepare(Context& ctx, const FoldingCostOptions& options, const std::string& argument) {
  Subject subject;
  FoldingCostSubject& report = subject.report;
  report.name = split_label(argument);
  subject.model = make_subject(ctx, options, report.name.path, report.context);
  const ParameterStore& parameters = subject.model->parameters();
  report.arch = arch_name(subject.model->config().arch);
  report.precision = dtype_name(parameters.precision().activation);
  report.weights = weight_format_name(parameters.all().front().packed().format());
  report.parameters = parameters.elements();
  subject.tape = std::make_unique<Tape>(ctx, parameters.precision(), Tape::Mode::no_grad);
  auto load = [&](EncoderState encoder) {
    return std::make_unique<FoldingLoad>(*subject.tape, *subject.model, encoder, report.context);
  };
  subject.recomputed = load(EncoderState::recompute);
  report.lines.push_back({});  // never folded
  // Elsewhere a fold is nothing.
  if (subject.model->config().arch != Arch::double_decoder) return subject;
  subject.kept = load(EncoderState::keep);
  std::vector<int64_t> intervals = options.intervals;
  for (int64_t r = 1; options.intervals.empty() && r <= report.context; r *= 4) intervals.push_back(r);
  std::erase_if(intervals, [&](int64_t r) { return r > report.context; });
  for (EncoderState encoder : {EncoderState::keep, EncoderState::recompute}) {
    for (int64_t interval : intervals) report.lines.push_back({.interval = interval, .encoder = encoder});
  }
  return subject;
}

// The cycles of one line, round by round.
struct Timings {
  std::vector<double> ms_per_token, fold_ms_per_token;

  void add(const FoldingCycle& cycle) {
    ms_per_token.push_back(1e3 * cycle.seconds_per_token());
    fold_ms_per_token.push_back(1e3 * cycle.fold_seconds / static_cast<double>(cycle.tokens));
  }
};

// What does not depend on the clock; also the round that warms up.
void count(Subject& subject) {
  for (FoldingCostLine& line : subject.report.lines) {
    FoldingLoad& load = subject.load(line);
    line.flops_per_token = load.flops_per_token(line.interval);
    FoldingCycle cycle = load.cycle(line.interval);
    line.bytes_live = cycle.mean_bytes_live;
    line.bytes_with_encoder = cycle.mean_bytes_with_encoder;
    line.bytes_after_fold = cycle.bytes_after_fold;
  }
}

std::string encoder_name(const FoldingCostLine& line) {
  if (line.interval == 0) return "never folded";
  return line.encoder == EncoderState::keep ? "kept" : "recomputed";
}

OrderedJson line_json(const FoldingCostLine& line) {
  OrderedJson json{{"interval", nullptr}, {"encoder", nullptr}};
  if (line.interval > 0) {
    json["interval"] = line.interval;
    json["encoder"] = line.encoder == EncoderState::keep ? "keep" : "recompute";
  }
  json.update({{"ms_per_token", line.ms_per_token},
               {"fold_ms_per_token", line.fold_ms_per_token},
               {"flops_per_token", line.flops_per_token},
               {"cache_bytes_live", line.bytes_live},
               {"cache_bytes_with_encoder", line.bytes_with_encoder},
               {"cache_bytes_after_fold", line.bytes_after_fold}});
  return json;
}

}  // namespace

std::vector<FoldingCostSubject> measure_folding_costs(Context& ctx, const FoldingCostOptions& options) {
  std::vector<Subject> subjects;
  for (const std::string& argument : options.subjects) {
    subjects.push_back(prepare(ctx, options, argument));
    count(subjects.back());
    log::info("{}: counted", subjects.back().report.name.label);
  }
  std::vector<std::vector<Timings>> timings;
  timings.reserve(subjects.size());
  for (const Subject& subject : subjects) timings.emplace_back(subject.report.lines.size());
  // Shared machines change their speed within seconds: everything is measured in turn.
  for (int64_t round = 0; round < options.rounds; ++round) {
    for (size_t s = 0; s < subjects.size(); ++s) {
      std::vector<FoldingCostLine>& lines = subjects[s].report.lines;
      for (size_t i = 0; i < lines.size(); ++i) timings[s][i].add(subjects[s].load(lines[i]).cycle(lines[i].interval));
    }
    log::info("round {} of {}", round + 1, options.rounds);
  }
  std::vector<FoldingCostSubject> reports;
  for (size_t s = 0; s < subjects.size(); ++s) {
    std::vector<FoldingCostLine>& lines = subjects[s].report.lines;
    for (size_t i = 0; i < lines.size(); ++i) {
      lines[i].ms_per_token = median(timings[s][i].ms_per_token);
      lines[i].fold_ms_per_token = median(timings[s][i].fold_ms_per_token);
    }
    reports.push_back(std::move(subjects[s].report));
  }
  return reports;
}

OrderedJson costs_json(const std::vector<FoldingCostSubject>& subjects) {
  OrderedJson json = OrderedJson::array();
  for (const FoldingCostSubject& subject : subjects) {
    OrderedJson lines = OrderedJson::array();
    for (const FoldingCostLine& line : subject.lines) lines.push_back(line_json(line));
    json.push_back({{"label", subject.name.label},
                    {"model", subject.name.path},
                    {"arch", subject.arch},
                    {"precision", subject.precision},
                    {"weights", subject.weights},
                    {"parameters", subject.parameters},
                    {"context", subject.context},
                    {"lines", lines}});
  }
  return json;
}

std::string costs_table(const std::vector<FoldingCostSubject>& subjects) {
  std::string text;
  constexpr double kMiB = 1 << 20;
  for (const FoldingCostSubject& subject : subjects) {
    text += fmt::format("{}: {}, {} ({} weights), context {}\n", subject.name.label, subject.arch, subject.precision,
                        subject.weights, subject.context);
    text += fmt::format("  {:<14}{:>8}{:>14}{:>12}{:>16}{:>15}{:>15}{:>13}\n", "encoder", "block", "ms per token",
                        "of it fold", "MFLOP per token", "cache MiB live", "with encoder", "after fold");
    for (const FoldingCostLine& line : subject.lines) {
      std::string interval = line.interval > 0 ? std::to_string(line.interval) : "";
      text += fmt::format("  {:<14}{:>8}{:>14.4f}{:>12.4f}{:>16.3f}{:>15.3f}{:>15.3f}", encoder_name(line), interval,
                          line.ms_per_token, line.fold_ms_per_token, line.flops_per_token / 1e6, line.bytes_live / kMiB,
                          line.bytes_with_encoder / kMiB);
      if (line.interval > 0) text += fmt::format("{:>13.3f}", static_cast<double>(line.bytes_after_fold) / kMiB);
      text += "\n";
    }
  }
  return text;
}

LineChart costs_chart(const std::vector<FoldingCostSubject>& subjects) {
  LineChart chart{.title = "Time of a written token by the length of blocks",
                  .x_label = "tokens of a block",
                  .y_label = "ms per token",
                  .x_scale = Scale::logarithmic,
                  .y_scale = Scale::logarithmic};
  double first = std::numeric_limits<double>::infinity(), last = 1;
  for (const FoldingCostSubject& subject : subjects) {
    for (const FoldingCostLine& line : subject.lines) {
      if (line.interval == 0) continue;
      first = std::min(first, static_cast<double>(line.interval));
      last = std::max(last, static_cast<double>(line.interval));
    }
  }
  for (const FoldingCostSubject& subject : subjects) {
    std::string open;  // the curve that is being drawn
    for (const FoldingCostLine& line : subject.lines) {
      bool folds = line.interval > 0;
      std::string label = fmt::format("{}, encoder's state {}", subject.name.label, encoder_name(line));
      if (!folds) label = subject.lines.size() > 1 ? subject.name.label + ", never folded" : subject.name.label;
      if (label != open) {
        chart.series.push_back({.label = label,
                                .colour = static_cast<int>(chart.series.size()),
                                .style = folds ? LineStyle::markers : LineStyle::line});
        open = label;
      }
      Series& series = chart.series.back();
      for (double x :
           folds ? std::vector{static_cast<double>(line.interval)} : std::vector{std::min(first, last), last}) {
        series.x.push_back(x);
        series.y.push_back(line.ms_per_token);
      }
    }
  }
  return chart;
}

}  // namespace tandem::app
