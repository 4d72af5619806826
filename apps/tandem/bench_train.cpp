// bench train: speed and memory of training steps on random tokens.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <optional>

#include "base/file.h"
#include "base/json.h"
#include "base/statistics.h"
#include "bench.h"
#include "dist/collectives.h"
#include "formats/chrome_trace.h"
#include "kernels/peak.h"
#include "output.h"
#include "ranks.h"
#include "train/init.h"
#include "train/row_share.h"
#include "train/run_config.h"
#include "train/step.h"

namespace tandem::app {
namespace {

struct BenchTrainOptions {
  std::string config;
  std::vector<std::string> overrides;
  double seconds = 10;
  int64_t min_steps = 3;
  std::string trace;
  bool json = false;
};

struct Measured {
  std::vector<double> step_seconds;
  std::vector<ProfileEntry> ops;
  std::vector<ProfileEvent> events;
  double profiled_seconds = 0;
  kernels::Peak peak;
  double peak_flops = 0;  // of the precision, of all ranks together
  double rank_peak_flops = 0;
  double flops_per_token = 0;
  int64_t tokens_per_step = 0;
  int64_t parameters = 0;
  int64_t non_embedding_parameters = 0;
  int64_t peak_rss_bytes = 0;
  std::string_view precision;
  // Of several ranks, in the measured steps.
  int ranks = 1;
  bool zero = false;
  int64_t bytes_per_step = 0;
  double wait_seconds = 0;
};

// Measuring the machine's peak takes about a second.
constexpr size_t kStepsBetweenPeaks = 8;

Batch random_batch(const ModelConfig& config, int64_t rows, Rng& rng) {
  Batch batch;
  batch.rows = rows;
  batch.length = config.max_seq_len;
  for (int64_t i = 0; i < batch.tokens(); ++i) {
    auto vocab = static_cast<uint32_t>(config.vocab_size);
    batch.ids.push_back(static_cast<int32_t>(rng.below(vocab)));
    batch.labels.push_back(static_cast<int32_t>(rng.below(vocab)));
    batch.positions.push_back(static_cast<int32_t>(i % batch.length));
    batch.segments.push_back(0);
  }
  return batch;
}

// One optimizer step of this rank's micro-batches.
double one_step(TrainingStep& step, const Model& model, const Batch& rows, int64_t passes, Rng& rng) {
  Stopwatch watch;
  for (int64_t micro = 0; micro < passes; ++micro) {
    Batch batch = rows;
    model.prepare(batch, rng);
    step.accumulate(batch, micro == passes - 1);
  }
  step.finish(0.01);
  return watch.seconds();
}

int64_t peak_rss() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

// Over all ranks.
double total(Communicator& ranks, double value) {
  all_reduce(ranks, std::span<double>(&value, 1));
  return value;
}

Measured measure(Communicator& ranks, const RunConfig& run, const BenchTrainOptions& options) {
  Context ctx(threads_for(ranks, static_cast<int>(run.threads)));
  Precision precision = choose_precision(run.precision, ctx.isa());
  ModelConfig config = resolve_model(run);
  RowShare share = share_of_rows(run.micro_batch, run.grad_accum, ranks.rank(), ranks.size());
  auto model = make_model(config, precision, ParameterStore::Gradients::wanted, options.config);
  model->parameters().initialise(static_cast<uint64_t>(run.seed));
  std::optional<DataParallel> parallel;
  if (ranks.size() > 1) parallel.emplace(ranks, ctx, model->parameters(), DataParallelOptions{.zero = run.zero});
  Optimizer optimizer(ctx, model->parameters(), run.optimizer, config.matrix_rate_factor(),
                      parallel ? parallel->owned() : std::vector<ElementRange>{});
  Tape tape(ctx, precision, Tape::Mode::record);
  tape.set_recompute(run.recompute);
  TrainingStep step(*model, tape, optimizer, parallel ? &*parallel : nullptr);
  Rng rng(static_cast<uint64_t>(run.seed), 0);
  Batch batch = random_batch(config, share.rows, rng);
  batch.objective = objective_of(run);

  Measured m;
  one_step(step, *model, batch, share.passes, rng);  // prepares primitives, touches memory
  Stopwatch watch;
  bool more = true;
  while (more) {
    Traffic before = ranks.traffic();
    m.step_seconds.push_back(one_step(step, *model, batch, share.passes, rng));
    m.bytes_per_step = ranks.traffic().bytes_sent - before.bytes_sent;
    m.wait_seconds += ranks.traffic().wait_seconds - before.wait_seconds;
    // Of training alone: measuring the peak rate reads a large buffer of its own.
    if (m.peak_rss_bytes == 0) m.peak_rss_bytes = peak_rss();
    // The peak is taken between the steps: shared machines change their speed within seconds.
    if (m.step_seconds.size() % kStepsBetweenPeaks == 1) {
      kernels::Peak peak = kernels::measure_peak(ctx);
      m.peak.bf16_flops = std::max(m.peak.bf16_flops, peak.bf16_flops);
      m.peak.f32_flops = std::max(m.peak.f32_flops, peak.f32_flops);
      m.peak.read_bytes_per_second = std::max(m.peak.read_bytes_per_second, peak.read_bytes_per_second);
    }
    more = static_cast<int64_t>(m.step_seconds.size()) < options.min_steps || watch.seconds() < options.seconds;
    more = broadcast(ranks, int64_t{more}) != 0;
  }
  m.ranks = ranks.size();
  m.zero = run.zero;
  m.peak_flops = precision.activation == DType::bf16 ? m.peak.bf16_flops : m.peak.f32_flops;
  m.rank_peak_flops = m.peak_flops;
  m.peak_flops = total(ranks, m.peak_flops);
  m.bytes_per_step = static_cast<int64_t>(total(ranks, static_cast<double>(m.bytes_per_step)));
  ctx.profiler().enable(true);
  ctx.profiler().keep_events(true);
  m.profiled_seconds = one_step(step, *model, batch, share.passes, rng);
  m.ops = ctx.profiler().entries();
  m.events = ctx.profiler().events();
  m.flops_per_token = model->costs().flops_per_training_token;
  m.tokens_per_step = run.tokens_per_step();
  m.parameters = model->parameters().elements();
  m.non_embedding_parameters = model->non_embedding_parameters();
  m.precision = dtype_name(precision.activation);
  return m;
}

// What an op needs at least: its arithmetic at the peak of its type, or its operands once from memory.
struct Bound {
  double compute = 0;
  double memory = 0;
  double seconds = 0;  // of each call the longer one
};

Bound bound_of(const Measured& m, std::string_view op) {
  // Products and attention compute in the run's precision, everything else in float32.
  bool narrow = op == "matmul" || op.starts_with("attention");
  double flops = narrow ? m.rank_peak_flops : m.peak.f32_flops;
  Bound bound;
  for (const ProfileEvent& event : m.events) {
    if (event.name != op) continue;
    double compute = event.flops / flops, memory = event.bytes / m.peak.read_bytes_per_second;
    bound.compute += compute;
    bound.memory += memory;
    bound.seconds += std::max(compute, memory);
  }
  return bound;
}

OrderedJson to_json(const Measured& m, const BenchTrainOptions& options) {
  double seconds = median(m.step_seconds);
  double best = *std::min_element(m.step_seconds.begin(), m.step_seconds.end());
  double rate = static_cast<double>(m.tokens_per_step) / seconds;
  OrderedJson out{{"config", options.config},
                  {"precision", m.precision},
                  {"parameters", m.parameters},
                  {"non_embedding_parameters", m.non_embedding_parameters},
                  {"tokens_per_step", m.tokens_per_step},
                  {"steps", m.step_seconds.size()},
                  {"tokens_per_second", rate},
                  {"tokens_per_second_best", static_cast<double>(m.tokens_per_step) / best},
                  {"step_seconds", seconds},
                  {"flops_per_training_token", m.flops_per_token},
                  {"mfu", rate * m.flops_per_token / m.peak_flops},
                  {"peak_flops", m.peak_flops},
                  {"peak_read_bytes_per_second", m.peak.read_bytes_per_second},
                  {"peak_rss_bytes", m.peak_rss_bytes},
                  {"communication", nullptr}};
  if (m.ranks > 1) {
    double all_seconds = std::accumulate(m.step_seconds.begin(), m.step_seconds.end(), 0.0);
    out["communication"] = {{"ranks", m.ranks},
                            {"zero", m.zero},
                            {"bytes_per_step", m.bytes_per_step},
                            {"wait_seconds", m.wait_seconds},
                            {"wait_share", m.wait_seconds / all_seconds}};
  }
  OrderedJson ops = OrderedJson::array();
  double known = 0;
  std::vector<ProfileEntry> sorted = m.ops;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  for (const ProfileEntry& op : sorted) {
    known += op.seconds;
    Bound bound = bound_of(m, op.name);
    ops.push_back({{"op", op.name},
                   {"calls", op.calls},
                   {"seconds", op.seconds},
                   {"share", op.seconds / m.profiled_seconds},
                   {"flops_per_second", op.flops / op.seconds},
                   {"bytes_per_second", op.bytes / op.seconds},
                   {"bound", bound.compute >= bound.memory ? "compute" : "memory"},
                   {"share_of_bound", bound.seconds / op.seconds}});
  }
  double rest = std::max(0.0, m.profiled_seconds - known);
  ops.push_back({{"op", "rest"},
                 {"calls", 1},
                 {"seconds", rest},
                 {"share", rest / m.profiled_seconds},
                 {"flops_per_second", 0},
                 {"bytes_per_second", 0},
                 {"bound", nullptr},
                 {"share_of_bound", nullptr}});
  out["ops"] = ops;
  return out;
}

void print_table(const OrderedJson& j) {
  fmt::print("{} in {}: {:.0f} tokens/s (best {:.0f}), {:.1f} % of {:.0f} GFLOP/s, peak memory {:.0f} MiB\n",
             j["config"].get<std::string>(), j["precision"].get<std::string>(), j["tokens_per_second"].get<double>(),
             j["tokens_per_second_best"].get<double>(), 100 * j["mfu"].get<double>(),
             j["peak_flops"].get<double>() / 1e9, j["peak_rss_bytes"].get<double>() / (1 << 20));
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

int bench_on(Communicator& ranks, const BenchTrainOptions& options) {
  RunConfig run = load_run_config(options.config, with_small_step(options.overrides, ranks.size()));
  Measured measured = measure(ranks, run, options);
  if (ranks.rank() > 0) return 0;
  if (!options.trace.empty()) {
    write_file_atomically(options.trace, chrome_trace(measured.events, "tandem bench train " + options.config));
  }
  OrderedJson result = to_json(measured, options);
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
  verb->add_option("--trace", options->trace, "write one step as a trace for chrome://tracing or Perfetto");
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &action] { action = [options] { return run_bench_train(*options); }; });
}

}  // namespace tandem::app
