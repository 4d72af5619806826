// bench compare: architectures and sizes side by side.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/progress_bar.h"
#include "bench.h"
#include "bench_models.h"
#include "bench_report.h"
#include "interrupt.h"
#include "model_options.h"
#include "output.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> arguments;  // models, and settings with a '='
  ModelOptions run;
  bool families = false;
  bool full = false;
  // Empty and -1: as quick or as full as --full says.
  std::vector<int64_t> contexts;
  std::vector<int64_t> batches;
  int64_t rounds = 3;
  int64_t requests = -1, prompt = 512, written = -1;
  double memory = 0;       // MiB
  double cell_memory = 0;  // MiB
  std::string output;
  bool json = false;
  std::string command;  // as it was given
};

struct Subjects {
  std::vector<std::string> names;
  std::vector<std::string> overrides;
};

Subjects split(const std::vector<std::string>& arguments) {
  Subjects subjects;
  for (const std::string& argument : arguments) {
    bool setting = argument.find('=') != std::string::npos && !fs::exists(argument);
    (setting ? subjects.overrides : subjects.names).push_back(argument);
  }
  if (subjects.names.empty()) {
    throw InputError({.what = "nothing to compare",
                      .where = "tandem bench compare",
                      .expected = "a config or a model folder",
                      .hint = "configs/paper/dd_28.9m.toml"});
  }
  return subjects;
}

std::vector<int64_t> ascending(std::vector<int64_t> list, std::vector<int64_t> otherwise) {
  if (list.empty()) list = std::move(otherwise);
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

ComparisonPlan make_plan(const Options& options) {
  ComparisonPlan plan;
  plan.contexts = ascending(options.contexts, options.full ? std::vector<int64_t>{128, 512, 2048, 8192, 32768}
                                                           : std::vector<int64_t>{128, 512, 2048});
  plan.batches =
      ascending(options.batches, options.full ? std::vector<int64_t>{1, 4, 16, 64} : std::vector<int64_t>{1, 8});
  plan.rounds = options.rounds;
  plan.serving.requests = options.requests >= 0 ? options.requests : options.full ? 64 : 16;
  plan.serving.prompt = options.prompt;
  plan.serving.written = options.written > 0 ? options.written : options.full ? 128 : 32;
  plan.serving.cache_bytes = static_cast<int64_t>(options.memory * (1 << 20));
  return plan;
}

int64_t longest(const ComparisonPlan& plan) {
  int64_t serving = plan.serving.requests > 0 ? plan.serving.prompt + plan.serving.written : 0;
  return std::max(plan.contexts.back(), serving);
}

// One subject stands beside the architectures that can be derived from it; several stand beside each other.
std::vector<Contender> contenders(const Options& options, const ComparisonPlan& plan) {
  Subjects subjects = split(options.arguments);
  const bool families = options.families || subjects.names.size() == 1;
  std::vector<Contender> all;
  for (size_t i = 0; i < subjects.names.size(); ++i) {
    const std::string& name = subjects.names[i];
    bool folder = fs::is_regular_file(fs::path(name) / "config.json");
    BenchSubject subject =
        read_bench_subject(name, folder && subjects.names.size() > 1 ? std::vector<std::string>() : subjects.overrides,
                           longest(plan), false);
    Contender given{.name = families ? sizes_name(subject.config) : fs::path(name).lexically_normal().stem().string(),
                    .family = families ? static_cast<int64_t>(i) : 0,
                    .config = subject.config,
                    .folder = subject.folder};
    if (!families) {
      all.push_back(std::move(given));
      continue;
    }
    ModelConfig in_blocks = given.config;  // the one of the family that needs most
    in_blocks.arch = Arch::block_transformer;
    for (Contender& each : family_of(given, longest(plan) + positions_behind_context(in_blocks))) {
      if (subjects.names.size() > 1) each.name = fmt::format("{}: {}", subject.config.dim, each.name);
      all.push_back(std::move(each));
    }
  }
  return all;
}

// Masters in float32, and what products read.
void check_weights_fit(const std::vector<Contender>& all) {
  double bytes = 0;
  for (const Contender& each : all) {
    if (!each.refusal.empty()) continue;
    auto values = static_cast<double>(non_embedding_parameters(each.config) + each.config.vocab_size * each.config.dim);
    bytes += 2 * sizeof(float) * values;
  }
  auto available = static_cast<double>(machine_memory().available);
  if (available == 0 || bytes < 0.8 * available) return;
  throw InputError({.what = "the models' weights do not fit into memory together",
                    .where = "tandem bench compare",
                    .got = fmt::format("{:.0f} MiB", bytes / (1 << 20)),
                    .expected = fmt::format("at most 80 % of the {:.0f} MiB that are free", available / (1 << 20))});
}

std::vector<LoadedContender> load_all(const std::vector<Contender>& all, const Options& options, Context& ctx) {
  Precision precision = chosen_precision(options.run.precision, ctx.isa());
  std::vector<LoadedContender> models;
  for (const Contender& each : all) {
    models.push_back({&each, nullptr});
    if (!each.refusal.empty()) continue;
    models.back().model = make_bench_model({each.config, each.folder}, precision, options.run.quantize, ctx);
  }
  return models;
}

std::string machine_line(const std::vector<LoadedContender>& models, Context& ctx) {
  for (const LoadedContender& each : models) {
    if (!each.model) continue;
    const ParameterStore& parameters = each.model->parameters();
    return fmt::format("{}, {} threads, {}, activations in {}, weights in {}", processor_name(), ctx.pool().threads(),
                       isa_name(ctx.isa()), dtype_name(parameters.precision().activation),
                       weight_format_name(parameters.all().front().packed().format()));
  }
  return processor_name();
}

int run(const Options& options) {
  if (!options.output.empty()) create_folder(options.output);
  ComparisonPlan plan = make_plan(options);
  std::vector<Contender> all = contenders(options, plan);
  check_weights_fit(all);
  InterruptScope interrupts("stopping: what was measured so far follows\n");
  Context ctx(options.run.threads);
  std::vector<LoadedContender> models = load_all(all, options, ctx);
  // Half of what is free once the weights are there; the other half is the passes' and everybody else's.
  plan.cell_bytes = options.cell_memory > 0 ? static_cast<int64_t>(options.cell_memory * (1 << 20))
                                            : std::max<int64_t>(machine_memory().available / 2, int64_t{1} << 30);
  ComparisonHooks hooks;
  hooks.should_stop = interrupted;
  ComparisonResult result;
  {
    ProgressBar bar;
    Stopwatch watch;
    hooks.progress = [&](double fraction, const std::string& what) {
      if (what.empty()) return;
      double left = watch.seconds() * (1 - fraction) / std::max(fraction, 1e-3);
      bar.show(fraction, fmt::format("{:.0f}%  {} left  {}", 100 * fraction, clock_text(left), what));
    };
    result = compare(ctx, plan, models, hooks);
  }
  ComparisonReport report{plan, models, result, machine_line(models, ctx), options.command};
  OrderedJson json = to_json(report);
  json["files"] = OrderedJson::array();
  if (!options.output.empty()) json["files"] = write_report(options.output, report, json);
  if (options.json) {
    write_json(json);
  } else {
    write_output(text_tables(report));
    if (!options.output.empty()) write_output((fs::path(options.output) / "index.html").string() + "\n");
  }
  return result.stopped ? kInterruptedExit : 0;
}

}  // namespace

void add_bench_compare(CLI::App& bench, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb =
      bench.add_subcommand("compare", "architectures side by side: reading, writing, caches, memory limit");
  verb->add_option(
          "MODEL", options->arguments,
          "One run config or model folder: it stands beside every architecture of equal parameters, with random "
          "weights. Several: they stand beside each other. KEY=VALUE overrides the configs")
      ->required()
      ->expected(1, -1);
  add_run_options(*verb, options->run);
  verb->add_flag("--families", options->families, "Derive the other architectures for each of several configs");
  verb->add_flag("--full", options->full, "Contexts to 32,768, batches to 64, 64 requests of 512 + 128 tokens");
  auto positive = CLI::Range(int64_t{1}, int64_t{1} << 20);
  verb->add_option("--contexts", options->contexts, "Tokens of context; default: 128 512 2048")
      ->expected(1, -1)
      ->check(positive);
  verb->add_option("--batches", options->batches, "Sequences that write together; default: 1 8")
      ->expected(1, -1)
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  verb->add_option("--rounds", options->rounds, "Turns of each model in a cell; the median is kept")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  verb->add_option("--memory", options->memory, "Cache limit for many requests, MiB; default: 4 decoder-only sequences")
      ->check(CLI::Range(0.001, 1e9));
  verb->add_option("--requests", options->requests, "Requests under that limit; 0: none; default: 16")
      ->check(CLI::Range(int64_t{0}, int64_t{4096}));
  verb->add_option("--prompt", options->prompt, "Tokens that each of them reads")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20))
      ->capture_default_str();
  verb->add_option("--written", options->written, "Tokens that each of them is answered with; default: 32")
      ->check(positive);
  verb->add_option("--cell-memory", options->cell_memory,
                   "Most memory for the caches of a cell, MiB; default: half of what is free")
      ->check(CLI::Range(0.001, 1e9));
  verb->add_option("--output", options->output, "Folder for JSON, Markdown, pictures and a page");
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, verb, &action] {
    options->command = "tandem bench compare" + options_given(*verb);
    action = [options] { return run(*options); };
  });
}

}  // namespace tandem::app
