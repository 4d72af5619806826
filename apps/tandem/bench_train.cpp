// bench train: speed and memory of training steps on random tokens.
#include <CLI/CLI.hpp>

#include "base/file.h"
#include "base/json.h"
#include "bench.h"
#include "formats/chrome_trace.h"
#include "output.h"
#include "ranks.h"
#include "step_report.h"
#include "train/init.h"
#include "training_speed.h"
#include "training_sweep.h"

namespace tandem::app {
namespace {

struct BenchTrainOptions {
  std::string config;
  std::vector<std::string> overrides;
  double seconds = 10;
  int64_t steps = 3;
  int64_t step_tokens = 0;
  int64_t documents = 0;
  std::string sweep;
  std::vector<std::string> with;
  int rounds = 1;
  std::string output;
  std::string trace;
  bool json = false;
  std::string command;  // as it was given
};

// A step of the published runs is a million tokens; one row for each rank is enough to see the speed. What the command
// line names stands behind these and wins.
std::vector<std::string> with_small_step(const std::vector<std::string>& overrides, int ranks) {
  std::vector<std::string> all{"micro_batch=1", fmt::format("grad_accum={}", ranks)};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return all;
}

SpeedOptions speed_options(const BenchTrainOptions& options) {
  return {
      .config = options.config, .seconds = options.seconds, .min_steps = options.steps, .documents = options.documents};
}

int bench_on(Communicator& ranks, const BenchTrainOptions& options) {
  if (!options.sweep.empty()) {
    return training_sweep(ranks, {.config = options.config,
                                  .sweep = options.sweep,
                                  .with = options.with,
                                  .overrides = with_small_step(options.overrides, ranks.size()),
                                  .step_tokens = options.step_tokens,
                                  .speed = speed_options(options),
                                  .rounds = options.rounds,
                                  .output = options.output,
                                  .json = options.json});
  }
  if (!options.output.empty() && ranks.rank() == 0) create_folder(options.output);
  RunConfig run = load_run_config(options.config, with_small_step(options.overrides, ranks.size()));
  with_step_of(run, options.step_tokens, ranks.size());
  check_documents(options.documents, run.model.max_seq_len);
  TrainingSpeed measured = measure_training(ranks, run, speed_options(options));
  if (ranks.rank() > 0) return 0;
  if (!options.trace.empty()) {
    write_file_atomically(options.trace, chrome_trace(measured.events, "tandem bench train " + options.config));
  }
  OrderedJson result{{"config", options.config}};
  result.update(to_json(measured));
  if (!options.output.empty()) write_step_report(options.output, result, options.command);
  if (options.json) {
    write_json(result);
  } else {
    write_output(step_text(result));
  }
  return 0;
}

int run_bench_train(const BenchTrainOptions& options) {
  return on_ranks([&](Communicator& ranks) { return bench_on(ranks, options); });
}

}  // namespace

void add_bench_train(CLI::App& bench, Action& action) {
  auto options = std::make_shared<BenchTrainOptions>();
  CLI::App* verb =
      bench.add_subcommand("train", "training steps on random tokens: tokens/s, share of the peak, memory");
  verb->add_option("CONFIG", options->config, "run config (TOML); data is not needed")->required();
  verb->add_option(
      "KEY=VALUE", options->overrides,
      "settings that override the config's; unless named here, micro_batch=1 and grad_accum=1 (one per rank)");
  verb->add_option("--seconds", options->seconds, "measure for about this long")->check(CLI::Range(0.0, 3600.0));
  verb->add_option("--steps", options->steps, "and for so many steps at least")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  verb->add_option("--step-tokens", options->step_tokens,
                   "grad_accum is chosen so that a step has so many tokens, whatever the rows' length")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  verb->add_option("--documents", options->documents,
                   "rows are made of documents of so many tokens, which cannot see each other")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  CLI::Option* sweep = verb->add_option(
      "--sweep", options->sweep,
      "KEY=V1,V2,..: one measurement for each value, such as model.max_seq_len=512,1024,2048; or documents=V1,V2,..");
  verb->add_option("--with", options->with, "KEY=W1,W2,..: another setting that changes together with --sweep's")
      ->allow_extra_args(false)
      ->needs(sweep);
  verb->add_option("--rounds", options->rounds, "with --sweep: go through the values so often, and keep the medians")
      ->check(CLI::Range(1, 1000))
      ->needs(sweep);
  verb->add_option("--output", options->output, "write tables and pictures to this folder");
  verb->add_option("--trace", options->trace, "write one step as a trace for chrome://tracing or Perfetto")
      ->excludes(sweep);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, verb, &action] {
    options->command = "tandem bench train" + options_given(*verb);
    action = [options] { return run_bench_train(*options); };
  });
}

}  // namespace tandem::app
