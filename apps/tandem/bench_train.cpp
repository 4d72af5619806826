// bench train: speed and memory of training steps on random tokens.
#include <CLI/CLI.hpp>

#include "base/file.h"
#include "base/json.h"
#include "bench.h"
#include "formats/chrome_trace.h"
#include "output.h"
#include "ranks.h"
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
  std::string sweep;
  int rounds = 1;
  std::string output;
  std::string trace;
  bool json = false;
};

void print_table(const OrderedJson& j) {
  fmt::print(
      "{} in {}: {:.0f} tokens/s (best {:.0f}), {:.1f} % of {:.0f} GFLOP/s, peak memory {:.0f} MiB (predicted "
      "{:.0f})\n",
      j["config"].get<std::string>(), j["precision"].get<std::string>(), j["tokens_per_second"].get<double>(),
      j["tokens_per_second_best"].get<double>(), 100 * j["mfu"].get<double>(), j["peak_flops"].get<double>() / 1e9,
      j["peak_rss_bytes"].get<double>() / (1 << 20), j["predicted_memory"]["total"].get<double>() / (1 << 20));
  if (const OrderedJson& c = j["communication"]; !c.is_null()) {
    fmt::print("{} ranks: {:.1f} MB sent per step, rank 0 waited {:.1f} % of the time\n", c["ranks"].get<int>(),
               c["bytes_per_step"].get<double>() / 1e6, 100 * c["wait_share"].get<double>());
  }
  fmt::print("{:<24} {:>7} {:>10} {:>7} {:>10} {:>8}   {}\n", "op", "calls", "seconds", "share", "GFLOP/s", "GB/s",
             "share of its bound");
  for (const auto& op : j["ops"]) {
    std::string bound;
    if (!op["bound"].is_null()) {
      bound = fmt::format("{:.0f} % ({})", 100 * op["share_of_bound"].get<double>(), op["bound"].get<std::string>());
    }
    fmt::print("{:<24} {:>7} {:>10.4f} {:>6.1f}% {:>10.1f} {:>8.1f}   {}\n", op["op"].get<std::string>(),
               op["calls"].get<int64_t>(), op["seconds"].get<double>(), 100 * op["share"].get<double>(),
               op["flops_per_second"].get<double>() / 1e9, op["bytes_per_second"].get<double>() / 1e9, bound);
  }
}

// A step of the published runs is a million tokens; one row for each rank is enough to see the speed. What the command
// line names stands behind these and wins.
std::vector<std::string> with_small_step(const std::vector<std::string>& overrides, int ranks) {
  std::vector<std::string> all{"micro_batch=1", fmt::format("grad_accum={}", ranks)};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return all;
}

SpeedOptions speed_options(const BenchTrainOptions& options) {
  return {.config = options.config, .seconds = options.seconds, .min_steps = options.steps};
}

int bench_on(Communicator& ranks, const BenchTrainOptions& options) {
  if (!options.sweep.empty()) {
    return training_sweep(ranks, {.config = options.config,
                                  .sweep = options.sweep,
                                  .overrides = with_small_step(options.overrides, ranks.size()),
                                  .step_tokens = options.step_tokens,
                                  .speed = speed_options(options),
                                  .rounds = options.rounds,
                                  .output = options.output,
                                  .json = options.json});
  }
  RunConfig run = load_run_config(options.config, with_small_step(options.overrides, ranks.size()));
  with_step_of(run, options.step_tokens, ranks.size());
  TrainingSpeed measured = measure_training(ranks, run, speed_options(options));
  if (ranks.rank() > 0) return 0;
  if (!options.trace.empty()) {
    write_file_atomically(options.trace, chrome_trace(measured.events, "tandem bench train " + options.config));
  }
  OrderedJson result{{"config", options.config}};
  result.update(to_json(measured));
  if (options.json) {
    write_json(result);
  } else {
    print_table(result);
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
      ->check(CLI::PositiveNumber);
  CLI::Option* sweep =
      verb->add_option("--sweep", options->sweep,
                       "KEY=V1,V2,..: one measurement for each value, such as model.max_seq_len=512,1024,2048");
  verb->add_option("--rounds", options->rounds, "with --sweep: go through the values so often, and keep the medians")
      ->check(CLI::Range(1, 1000))
      ->needs(sweep);
  verb->add_option("--output", options->output, "with --sweep: write a table and pictures to this folder")
      ->needs(sweep);
  verb->add_option("--trace", options->trace, "write one step as a trace for chrome://tracing or Perfetto")
      ->excludes(sweep);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &action] { action = [options] { return run_bench_train(*options); }; });
}

}  // namespace tandem::app
