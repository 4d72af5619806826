#include "training_speed.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/statistics.h"
#include "dist/collectives.h"
#include "ranks.h"
#include "train/measure_products.h"
#include "train/row_share.h"
#include "train/step.h"

namespace tandem::app {
namespace {

// Measuring the machine's peak takes about a second.
constexpr size_t kStepsBetweenPeaks = 8;

// One optimizer step of this rank's micro-batches. `batch` keeps its memory from step to step.
double one_step(TrainingStep& step, const Model& model, const Batch& rows, int64_t passes, Rng& rng, Batch& batch) {
  Stopwatch watch;
  for (int64_t micro = 0; micro < passes; ++micro) {
    batch = rows;
    model.prepare(batch, rng);
    step.accumulate(batch, micro == passes - 1);
  }
  step.finish(0.01);
  return watch.seconds();
}

// Adds what happens in its lifetime.
class CostsOfStep {
 public:
  CostsOfStep(StepCosts& costs, const Tape& tape, Context& ctx) : costs_(costs), tape_(tape), ctx_(ctx) {}
  CostsOfStep(const CostsOfStep&) = delete;
  CostsOfStep& operator=(const CostsOfStep&) = delete;
  ~CostsOfStep() {
    costs_.heap_bytes += heap_bytes() - heap_bytes_;
    PageFaults now = page_faults();
    costs_.page_faults.push_back(static_cast<double>(now.minor + now.major - faults_.minor - faults_.major));
    costs_.major_page_faults.push_back(static_cast<double>(now.major - faults_.major));
    costs_.arena_allocations += allocations() - allocations_;
  }

 private:
  int64_t allocations() const { return tape_.system_allocations() + ctx_.scratch().system_allocations(); }

  StepCosts& costs_;
  const Tape& tape_;
  Context& ctx_;
  int64_t allocations_ = allocations();
  PageFaults faults_ = page_faults();
  int64_t heap_bytes_ = heap_bytes();
};

// From here on the most memory that the process holds is counted anew. Where the system does not allow that, it is the
// most since the program began.
void forget_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

RunConfig share_of(RunConfig run, const RowShare& share) {
  run.micro_batch = share.rows;
  run.grad_accum = share.passes;
  return run;
}

// Over all ranks.
double total(Communicator& ranks, double value) {
  all_reduce(ranks, std::span<double>(&value, 1));
  return value;
}

// As rank 0 finds them; the same on all ranks.
ProductChoices measured_products(Communicator& ranks, const RunProducts& run) {
  ProductChoices choices;
  if (ranks.rank() == 0) measure_missing(run.ctx, products_of_run(run), choices);
  const char* where = "the choices of rank 0";
  return product_choices_from_json(parse_json(broadcast(ranks, to_json(choices).dump()), where), where);
}

// Of rows made of documents that cannot see each other: that of rows of their length.
double needed_flops(ModelConfig config, Precision precision, int64_t documents) {
  if (documents > 0) config.max_seq_len = documents;
  return make_model(config, precision, ParameterStore::Gradients::none, "documents")->costs().flops_per_training_token;
}

}  // namespace

void check_documents(int64_t documents, int64_t row) {
  if (documents == 0 || (documents > 0 && documents <= row && row % documents == 0)) return;
  throw InputError({.what = "rows that are not made of whole documents",
                    .where = "documents",
                    .got = std::to_string(documents),
                    .expected = fmt::format("a divisor of model.max_seq_len, {}", row)});
}

TrainingSpeed measure_training(Communicator& ranks, const RunConfig& run, const SpeedOptions& options) {
  forget_peak_memory();
  Context ctx(threads_for(ranks, static_cast<int>(run.threads)));
  Precision precision = choose_precision(run.precision, ctx.isa());
  ModelConfig config = resolve_model(run);
  RowShare share = share_of_rows(run.micro_batch, run.grad_accum, ranks.rank(), ranks.size());
  auto model = make_model(config, precision, ParameterStore::Gradients::wanted, options.config);
  std::optional<DataParallel> parallel;
  if (ranks.size() > 1) parallel.emplace(ranks, ctx, model->parameters(), DataParallelOptions{.zero = run.zero});
  Optimizer optimizer(ctx, model->parameters(), run.optimizer, config.matrix_rate_factor(),
                      parallel ? parallel->owned() : std::vector<ElementRange>{});
  Tape tape(ctx, precision, Tape::Mode::record);
  tape.set_recompute(run.recompute);
  TrainingStep step(*model, tape, optimizer, parallel ? &*parallel : nullptr);
  Rng rng(static_cast<uint64_t>(run.seed), 0);
  auto rows = [&](int64_t count) { return random_rows(config, objective_of(run), count, rng, options.documents); };
  Batch batch = rows(share.rows);

  TrainingSpeed m;
  // While nothing of the model is in memory yet.
  m.predicted =
      model_memory({.ctx = ctx,
                    .config = share_of(run, share),
                    .model = *model,
                    .rows = rows,
                    .moment_elements = parallel && run.zero ? parallel->sharding().owned_elements(ranks.rank()) : -1,
                    .exchange_bytes = parallel ? parallel->buffer_bytes() : 0});
  m.predicted.program = program_bytes(0);
  std::optional<ChosenProducts> chosen;
  if (run.products == ProductsBy::measurement) {
    chosen.emplace(
        ctx.gemm(),
        measured_products(
            ranks,
            {.ctx = ctx, .model = *model, .recompute = run.recompute, .rows = rows, .training_rows = share.rows}),
        "measurements");
  }
  model->parameters().initialise(static_cast<uint64_t>(run.seed));
  Batch prepared;
  auto steady_step = [&] {
    CostsOfStep costs(m.costs, tape, ctx);
    return one_step(step, *model, batch, share.passes, rng, prepared);
  };
  one_step(step, *model, batch, share.passes, rng, prepared);  // prepares primitives, touches memory
  Stopwatch watch;
  bool more = true;
  while (more) {
    Traffic before = ranks.traffic();
    m.step_seconds.push_back(steady_step());
    m.bytes_per_step = ranks.traffic().bytes_sent - before.bytes_sent;
    m.wait_seconds += ranks.traffic().wait_seconds - before.wait_seconds;
    // Of training alone: measuring the peak rate reads a large buffer of its own.
    if (m.peak_rss_bytes == 0) m.peak_rss_bytes = process_memory().peak;
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
  if (options.profile) {
    ctx.profiler().enable(true);
    ctx.profiler().keep_events(true);
    m.profiled_seconds = one_step(step, *model, batch, share.passes, rng, prepared);
    m.ops = ctx.profiler().entries();
    m.events = ctx.profiler().events();
  }
  m.flops_per_token = needed_flops(config, precision, options.documents);
  m.tokens_per_step = run.tokens_per_step();
  m.parameters = model->parameters().elements();
  m.non_embedding_parameters = model->non_embedding_parameters();
  m.precision = dtype_name(precision.activation);
  return m;
}

namespace {

// What an op needs at least: its arithmetic at the peak of its type, or its operands once from memory.
struct Bound {
  double compute = 0;
  double memory = 0;
  double seconds = 0;  // of each call the longer one
};

Bound bound_of(const TrainingSpeed& m, std::string_view op) {
  // Products and attention compute in the run's precision, everything else in float32.
  bool narrow = op == "matmul" || op == "linear_cross_entropy" || op.starts_with("attention");
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

OrderedJson ops_json(const TrainingSpeed& m) {
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
  return ops;
}

}  // namespace

namespace {

// Bytes read and written by ops of this name.
OrderedJson bytes_of(const TrainingSpeed& m, std::string_view name) {
  if (m.ops.empty()) return nullptr;
  double bytes = 0;
  for (const ProfileEntry& op : m.ops) {
    if (op.name == name) bytes += op.bytes;
  }
  return bytes;
}

OrderedJson steady_json(const TrainingSpeed& m) {
  return {{"page_faults", median(m.costs.page_faults)},
          {"page_faults_most", *std::max_element(m.costs.page_faults.begin(), m.costs.page_faults.end())},
          {"major_page_faults", median(m.costs.major_page_faults)},
          {"arena_allocations", m.costs.arena_allocations},
          {"heap_growth_bytes", m.costs.heap_bytes},
          {"converted_bytes", bytes_of(m, "convert")},
          {"copied_bytes", bytes_of(m, "copy rows")}};
}

}  // namespace

OrderedJson to_json(const TrainingSpeed& m) {
  double seconds = median(m.step_seconds);
  double best = *std::min_element(m.step_seconds.begin(), m.step_seconds.end());
  double rate = static_cast<double>(m.tokens_per_step) / seconds;
  OrderedJson out{{"precision", m.precision},
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
                  {"predicted_memory", to_json(m.predicted)},
                  {"steady_step", steady_json(m)},
                  {"communication", nullptr}};
  if (m.ranks > 1) {
    double all_seconds = std::accumulate(m.step_seconds.begin(), m.step_seconds.end(), 0.0);
    out["communication"] = {{"ranks", m.ranks},
                            {"zero", m.zero},
                            {"bytes_per_step", m.bytes_per_step},
                            {"wait_seconds", m.wait_seconds},
                            {"wait_share", m.wait_seconds / all_seconds}};
  }
  if (!m.ops.empty()) out["ops"] = ops_json(m);
  return out;
}

}  // namespace tandem::app
