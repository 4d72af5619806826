#include "train/estimate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <system_error>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/machine.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Passes grow by this factor: together they cost little more than the last one.
constexpr int64_t kGrowth = 4;
constexpr int64_t kFirstProbe = 512;

// A line of log.jsonl, and the events that go with it.
constexpr int64_t kBytesPerLogLine = 190;
constexpr int64_t kBytesPerEvents = 4 * 64;

// An update reads and writes weights, gradients and both moments; the norm, whose time is measured, reads gradients.
constexpr double kUpdatePerNorm = 6;

// Per parameter: the float32 weight.
constexpr int64_t kModelBytes = 4;

int64_t checkpoint_bytes(const RunConfig& config, int64_t elements) {
  return kModelBytes * elements + moment_bytes(config.optimizer.state, elements);
}

struct PassShape {
  int64_t rows = 0;
  int64_t length = 0;
  int64_t tokens() const { return rows * length; }
};

std::vector<PassShape> probe_shapes(const RunConfig& config) {
  int64_t length = config.model.max_seq_len;
  int64_t all = config.micro_batch * length, goal = std::min(all, kProbeTokens);
  std::vector<int64_t> sizes;
  for (int64_t tokens = kFirstProbe; tokens < goal; tokens *= kGrowth) sizes.push_back(tokens);
  sizes.push_back(goal);
  std::vector<PassShape> shapes;
  for (int64_t tokens : sizes) {
    int64_t row = std::min(length, tokens);
    PassShape shape{.rows = std::max<int64_t>(1, tokens / row), .length = row};
    if (shapes.empty() || shape.tokens() > shapes.back().tokens()) shapes.push_back(shape);
  }
  return shapes;
}

int64_t gradient_bytes(const ParameterStore& parameters) {
  int64_t bytes = 0;
  for (const Parameter& p : parameters.all()) bytes += p.grad().bytes();
  return bytes;
}

int64_t weight_bytes(const ParameterStore& parameters) {
  int64_t bytes = 0;
  for (const Parameter& p : parameters.all()) {
    bytes += p.master().bytes();
    if (p.has_own_compute()) bytes += p.compute().bytes();
  }
  return bytes;
}

std::string at_most(int64_t bytes, int machine_ranks) {
  if (machine_ranks == 1) return fmt::format("at most the machine's {}", bytes_text(bytes));
  return fmt::format("at most {}, a share of the machine's memory for each of {} ranks", bytes_text(bytes),
                     machine_ranks);
}

void refuse_if_too_large(const EstimateInput& in, const MemoryEstimate& memory) {
  int64_t have = machine_memory().total / in.machine_ranks;
  if (!in.config.check_memory || have == 0 || memory.total() <= have) return;
  throw JobError({.what = "the run does not fit into memory",
                  .got = fmt::format("a need of about {}, activations {} of it", bytes_text(memory.total()),
                                     bytes_text(memory.activations)),
                  .expected = at_most(have, in.machine_ranks),
                  .hint =
                      "a smaller micro_batch (with more grad_accum), recompute=layers or optimizer.state=8bit needs "
                      "less; check_memory=false tries it"});
}

// What the process holds besides is known once all has been done that a step does.
MemoryEstimate memory_of(const EstimateInput& in) {
  return model_memory(
      {.ctx = in.ctx,
       .config = in.config,
       .model = in.model,
       .rows = [&](int64_t rows) { return packed_rows(in.data, in.config, rows, in.config.model.max_seq_len); },
       .validation_rows = in.validation_rows,
       .moment_elements = in.moment_elements,
       .exchange_bytes = in.exchange_bytes});
}

struct Pace {
  double seconds_per_token = 0;
  double update_seconds = 0;
  int64_t program_bytes = 0;
};

// Passes that compute.
class Probe {
 public:
  explicit Probe(const EstimateInput& input)
      : in_(input), tape_(input.ctx, input.model.parameters().precision(), Tape::Mode::record) {
    tape_.set_recompute(in_.config.recompute);
  }

  Pace run() {
    in_.model.parameters().zero_gradients();
    Pace pace;
    for (const PassShape& shape : probe_shapes(in_.config)) pace.seconds_per_token = pass(shape);
    // Once more: the first time, matrix products are prepared and pages come from the system.
    const PassShape last = probe_shapes(in_.config).back();
    pace.seconds_per_token = std::min(pace.seconds_per_token, pass(last));
    Stopwatch watch;
    in_.optimizer.gradient_norm(1);
    pace.update_seconds = kUpdatePerNorm * watch.seconds();
    // Moments are not touched before the first update.
    const ParameterStore& parameters = in_.model.parameters();
    auto held = static_cast<int64_t>(tape_.arena().most_used_bytes() + tape_.pool_bytes() +
                                     in_.ctx.scratch().most_used_bytes());
    pace.program_bytes = program_bytes(weight_bytes(parameters) + gradient_bytes(parameters) + held);
    return pace;
  }

 private:
  // Seconds per token.
  double pass(const PassShape& shape) {
    Batch batch = packed_rows(in_.data, in_.config, shape.rows, shape.length);
    Rng rng(static_cast<uint64_t>(in_.config.seed), 0);
    Stopwatch watch;
    in_.model.prepare(batch, rng);
    tape_.reset();
    in_.model.loss(tape_, batch);
    tape_.backward();
    return watch.seconds() / static_cast<double>(shape.tokens());
  }

  const EstimateInput& in_;
  Tape tape_;
};

int64_t shard_bytes(const RunData& data) {
  auto bytes = [](const ShardSet& shards) { return 4 * shards.tokens() + 8 * shards.documents(); };
  return bytes(data.tokens.training()) + bytes(data.tokens.heldout());
}

int64_t validations(const RunConfig& config, int64_t first, int64_t total) {
  int64_t between = config.eval_every > 0 ? (total - 1) / config.eval_every - first / config.eval_every : 0;
  return std::max<int64_t>(0, between) + 1;
}

TimeEstimate time_of(const EstimateInput& in, const Pace& pace) {
  const RunConfig& config = in.config;
  auto tokens = static_cast<double>(config.tokens_per_step());
  TimeEstimate time;
  time.step_seconds = tokens * pace.seconds_per_token + pace.update_seconds;
  time.tokens_per_second = tokens * in.ranks / time.step_seconds;
  if (in.total_steps == 0) {
    time.total_seconds = config.max_seconds;
    return time;
  }
  // A validation only computes forward: a third of the work.
  double validation = static_cast<double>(in.heldout_rows * config.model.max_seq_len) * pace.seconds_per_token / 3;
  int64_t left = std::max<int64_t>(0, in.total_steps - in.steps_done);
  time.total_seconds = static_cast<double>(left) * time.step_seconds;
  if (left > 0) {
    time.total_seconds += validation * static_cast<double>(validations(config, in.steps_done, in.total_steps));
  }
  if (config.max_seconds > 0) time.total_seconds = std::min(time.total_seconds, config.max_seconds);
  return time;
}

DiskEstimate disk_of(const EstimateInput& in, double step_seconds) {
  const RunConfig& config = in.config;
  int64_t elements = in.model.parameters().elements();
  DiskEstimate disk;
  int64_t checkpoint = checkpoint_bytes(config, elements);
  int64_t possible = 1;
  auto steps = static_cast<double>(in.total_steps);
  if (in.total_steps == 0) steps = config.max_seconds / std::max(step_seconds, 1e-9);
  if (config.checkpoint_every > 0) {
    possible += static_cast<int64_t>(steps / static_cast<double>(config.checkpoint_every));
  }
  if (config.keep_best) ++possible;
  disk.checkpoints = checkpoint * std::min(possible, config.keep_checkpoints + (config.keep_best ? 1 : 0) + 1);
  disk.model = kModelBytes * elements;
  disk.tokens = shard_bytes(in.data);
  double lines = steps / static_cast<double>(config.log_every) +
                 (config.eval_every > 0 ? steps / static_cast<double>(config.eval_every) : 1);
  disk.logs = static_cast<int64_t>(lines) * (kBytesPerLogLine + (config.tensorboard ? kBytesPerEvents : 0));
  std::error_code error;
  fs::path place = fs::absolute(config.output);
  while (!place.empty() && place != place.root_path() && !fs::exists(place)) place = place.parent_path();
  fs::space_info space = fs::space(place, error);
  disk.free = error ? 0 : static_cast<int64_t>(space.available);
  return disk;
}

}  // namespace

std::string bytes_text(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return value < 10 && unit > 0 ? fmt::format("{:.1f} {}", value, kUnits[unit])
                                : fmt::format("{:.0f} {}", value, kUnits[unit]);
}

int64_t least_output_bytes(const RunConfig& config) {
  auto model = make_model(resolve_model(config), Precision::float32(), ParameterStore::Gradients::none, config.output);
  int64_t elements = model->parameters().elements();
  return checkpoint_bytes(config, elements) + kModelBytes * elements;
}

void check_model_memory(const RunConfig& config, const ParameterStore& parameters, int machine_ranks) {
  int64_t moments = moment_bytes(config.optimizer.state, parameters.elements()) / (config.zero ? machine_ranks : 1);
  int64_t need = weight_bytes(parameters) + gradient_bytes(parameters) + moments;
  int64_t have = machine_memory().total / machine_ranks;
  if (!config.check_memory || have == 0 || need <= have) return;
  throw JobError({.what = "the model does not fit into memory",
                  .got = fmt::format("{} for parameters, gradients and the optimizer's moments", bytes_text(need)),
                  .expected = at_most(have, machine_ranks),
                  .hint = "choose a smaller model; check_memory=false tries it"});
}

RunEstimate estimate_run(const EstimateInput& input) {
  RunEstimate estimate;
  estimate.total_steps = input.total_steps;
  estimate.memory = memory_of(input);
  refuse_if_too_large(input, estimate.memory);
  Pace pace = Probe(input).run();
  estimate.memory.program = pace.program_bytes;
  refuse_if_too_large(input, estimate.memory);
  // A checkpoint is mapped, file by file, when its hash is taken.
  int64_t elements = input.model.parameters().elements();
  int64_t moments = moment_bytes(input.config.optimizer.state, elements);
  estimate.memory.mapped = shard_bytes(input.data) + std::max(kModelBytes * elements, moments);
  estimate.machine_memory = machine_memory().total;
  estimate.time = time_of(input, pace);
  estimate.disk = disk_of(input, estimate.time.step_seconds);
  return estimate;
}

OrderedJson to_json(const RunEstimate& e) {
  OrderedJson memory = to_json(e.memory);
  memory["machine"] = e.machine_memory;
  return {{"steps", e.total_steps},
          {"memory", memory},
          {"time",
           {{"total_seconds", e.time.total_seconds},
            {"step_seconds", e.time.step_seconds},
            {"tokens_per_second", e.time.tokens_per_second}}},
          {"disk",
           {{"total", e.disk.total()},
            {"checkpoints", e.disk.checkpoints},
            {"model", e.disk.model},
            {"tokens", e.disk.tokens},
            {"logs", e.disk.logs},
            {"free", e.disk.free}}}};
}

}  // namespace tandem
