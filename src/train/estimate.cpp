#include "train/estimate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
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

// Per parameter: the float32 weight and its two moments.
constexpr int64_t kCheckpointBytes = 12;
constexpr int64_t kModelBytes = 4;

struct PassShape {
  int64_t rows = 0;
  int64_t length = 0;
  int64_t tokens() const { return rows * length; }
};

// What the tape held after a pass.
struct PassMemory {
  int64_t tokens = 0;
  int64_t arena = 0;
  int64_t pool = 0;
};

std::vector<PassShape> probe_shapes(const RunConfig& config) {
  int64_t length = config.model.max_seq_len;
  int64_t all = config.micro_batch * length, goal = std::min(all, kProbeTokens);
  std::vector<int64_t> sizes;
  for (int64_t tokens = kFirstProbe; tokens < goal; tokens *= kGrowth) sizes.push_back(tokens);
  // The two that are extrapolated from: the head works on up to 4,096 tokens at a time, so that both hold its largest
  // buffers.
  if (all > goal) sizes.push_back(goal / 2);
  sizes.push_back(goal);
  std::vector<PassShape> shapes;
  for (int64_t tokens : sizes) {
    int64_t row = std::min(length, tokens);
    PassShape shape{.rows = std::max<int64_t>(1, tokens / row), .length = row};
    if (shapes.empty() || shape.tokens() > shapes.back().tokens()) shapes.push_back(shape);
  }
  return shapes;
}

// Through the last two points; through the origin when there is one.
int64_t extrapolate(const std::vector<PassMemory>& measured, int64_t PassMemory::*value, int64_t tokens) {
  const PassMemory& last = measured.back();
  PassMemory before = measured.size() > 1 ? measured[measured.size() - 2] : PassMemory{};
  double slope = static_cast<double>(last.*value - before.*value) / static_cast<double>(last.tokens - before.tokens);
  return last.*value + static_cast<int64_t>(slope * static_cast<double>(tokens - last.tokens));
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

class Probe {
 public:
  explicit Probe(const EstimateInput& input) : in_(input) {
    memory_.parameters = weight_bytes(in_.model.parameters());
    memory_.gradients = gradient_bytes(in_.model.parameters());
    int64_t all = in_.model.parameters().elements();
    memory_.moments = 2 * 4 * (in_.moment_elements < 0 ? all : in_.moment_elements);
  }

  // Fills in memory and seconds per token.
  void run() {
    in_.model.parameters().zero_gradients();
    for (const PassShape& shape : probe_shapes(in_.config)) {
      if (!measured_.empty()) refuse_if_too_large(shape.tokens(), shape.tokens());
      // Of its own: the blocks of smaller passes would count with those of this one.
      tape_.emplace(in_.ctx, in_.model.parameters().precision(), Tape::Mode::record);
      tape_->set_recompute(in_.config.recompute);
      seconds_per_token_ = pass(shape);
    }
    // Once more: the first time, matrix products are prepared and pages come from the system.
    const PassShape last = probe_shapes(in_.config).back();
    seconds_per_token_ = std::min(seconds_per_token_, pass(last));
    Stopwatch watch;
    in_.optimizer.gradient_norm(1);
    update_seconds_ = kUpdatePerNorm * watch.seconds();
    memory_.gradients += in_.exchange_bytes;
    measure_program();
    int64_t training = in_.config.micro_batch * in_.config.model.max_seq_len;
    refuse_if_too_large(training, std::max(training, in_.validation_rows * in_.config.model.max_seq_len));
  }

  const MemoryEstimate& memory() const { return memory_; }
  double seconds_per_token() const { return seconds_per_token_; }
  double update_seconds() const { return update_seconds_; }

 private:
  // Seconds per token.
  double pass(const PassShape& shape) {
    RowStream rows = in_.data.tokens.rows(shape.length, in_.config.data.seed);
    Batch batch = rows.next_batch(shape.rows);
    batch.objective = objective_of(in_.config);
    batch.objective = objective_of(in_.config);
    Rng rng(static_cast<uint64_t>(in_.config.seed), 0);
    Stopwatch watch;
    in_.model.prepare(batch, rng);
    tape_->reset();
    in_.model.loss(*tape_, batch);
    tape_->backward();
    double seconds = watch.seconds();
    auto arena = static_cast<int64_t>(tape_->arena().most_used_bytes());
    PassMemory now{.tokens = shape.tokens(), .arena = arena, .pool = static_cast<int64_t>(tape_->pool_bytes())};
    if (measured_.empty() || measured_.back().tokens < now.tokens) measured_.push_back(now);
    return seconds / static_cast<double>(shape.tokens());
  }

  void refuse_if_too_large(int64_t training_tokens, int64_t most_tokens) {
    memory_.activations = extrapolate(measured_, &PassMemory::arena, most_tokens) +
                          extrapolate(measured_, &PassMemory::pool, training_tokens);
    int64_t have = machine_memory().total / in_.machine_ranks;
    if (!in_.config.check_memory || have == 0 || memory_.total() <= have) return;
    throw JobError({.what = "the run does not fit into memory",
                    .got = fmt::format("a need of about {}, activations {} of it", bytes_text(memory_.total()),
                                       bytes_text(memory_.activations)),
                    .expected = at_most(have, in_.machine_ranks),
                    .hint = "a smaller micro_batch (with more grad_accum) or recompute=layers needs less; "
                            "check_memory=false tries it"});
  }

  // What is resident now, less what is accounted for: moments are not touched before the first update.
  void measure_program() {
    auto held = static_cast<int64_t>(tape_->arena().most_used_bytes()) + measured_.back().pool;
    memory_.program = std::max<int64_t>(0, process_memory().resident - memory_.parameters - memory_.gradients - held);
  }

  const EstimateInput& in_;
  std::optional<Tape> tape_;
  std::vector<PassMemory> measured_;
  MemoryEstimate memory_;
  double seconds_per_token_ = 0;
  double update_seconds_ = 0;
};

int64_t shard_bytes(const RunData& data) {
  auto bytes = [](const ShardSet& shards) { return 4 * shards.tokens() + 8 * shards.documents(); };
  return bytes(data.tokens.training()) + bytes(data.tokens.heldout());
}

int64_t validations(const RunConfig& config, int64_t first, int64_t total) {
  int64_t between = config.eval_every > 0 ? (total - 1) / config.eval_every - first / config.eval_every : 0;
  return std::max<int64_t>(0, between) + 1;
}

TimeEstimate time_of(const EstimateInput& in, const Probe& probe) {
  const RunConfig& config = in.config;
  auto tokens = static_cast<double>(config.tokens_per_step());
  TimeEstimate time;
  time.step_seconds = tokens * probe.seconds_per_token() + probe.update_seconds();
  time.tokens_per_second = tokens * in.ranks / time.step_seconds;
  if (in.total_steps == 0) {
    time.total_seconds = config.max_seconds;
    return time;
  }
  // A validation only computes forward: a third of the work.
  double validation = static_cast<double>(in.heldout_rows * config.model.max_seq_len) * probe.seconds_per_token() / 3;
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
  int64_t checkpoint = kCheckpointBytes * elements;
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
  return (kCheckpointBytes + kModelBytes) * model->parameters().elements();
}

void check_model_memory(const RunConfig& config, const ParameterStore& parameters, int machine_ranks) {
  int64_t moments = 2 * 4 * parameters.elements() / (config.zero ? machine_ranks : 1);
  int64_t need = weight_bytes(parameters) + gradient_bytes(parameters) + moments;
  int64_t have = machine_memory().total / machine_ranks;
  if (!config.check_memory || have == 0 || need <= have) return;
  throw JobError({.what = "the model does not fit into memory",
                  .got = fmt::format("{} for parameters, gradients and the optimizer's moments", bytes_text(need)),
                  .expected = at_most(have, machine_ranks),
                  .hint = "choose a smaller model; check_memory=false tries it"});
}

RunEstimate estimate_run(const EstimateInput& input) {
  Probe probe(input);
  probe.run();
  RunEstimate estimate;
  estimate.total_steps = input.total_steps;
  estimate.memory = probe.memory();
  // A checkpoint is mapped, file by file, when its hash is taken.
  estimate.memory.mapped = shard_bytes(input.data) + 2 * 4 * input.model.parameters().elements();
  estimate.machine_memory = machine_memory().total;
  estimate.time = time_of(input, probe);
  estimate.disk = disk_of(input, estimate.time.step_seconds);
  return estimate;
}

OrderedJson to_json(const RunEstimate& e) {
  return {{"steps", e.total_steps},
          {"memory",
           {{"total", e.memory.total()},
            {"parameters", e.memory.parameters},
            {"gradients", e.memory.gradients},
            {"moments", e.memory.moments},
            {"activations", e.memory.activations},
            {"program", e.memory.program},
            {"mapped_files", e.memory.mapped},
            {"machine", e.machine_memory}}},
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
