#include "eval/comparison.h"

#include <algorithm>

#include "base/error.h"
#include "base/machine.h"
#include "base/statistics.h"
#include "kernels/peak.h"

namespace tandem {
namespace {

constexpr double kMiB = 1 << 20;
// A pass takes some scratch beside the memory of its tape.
constexpr double kPassMargin = 1.25;

// Seconds behind which a reading is not repeated: the machine's changes of speed are averaged within it.
constexpr double kLongReading = 3;

// Rough costs by which progress is told: tokens that are read, and how many of them a second is worth.
constexpr double kTokensPerSecond = 6000;
constexpr double kWrittenPerRead = 8;  // a token that is written takes as long as so many that are read

std::string does_not_fit(double bytes, int64_t limit) {
  return fmt::format("does not fit: {:.1f} MiB of {:.1f}", bytes / kMiB, static_cast<double>(limit) / kMiB);
}

class Comparison {
 public:
  Comparison(Context& ctx, const ComparisonPlan& plan, const std::vector<LoadedContender>& models,
             const ComparisonHooks& hooks)
      : ctx_(ctx), plan_(plan), models_(models), hooks_(hooks) {
    result_.models.resize(models.size());
    for (size_t m = 0; m < models.size(); ++m) tapes_.push_back(models[m].model ? new_tape(m) : nullptr);
    loads_.resize(models.size());
    pass_bytes_.resize(models.size());
    plan_work();
  }

  ComparisonResult run() {
    for (size_t m = 0; m < models_.size(); ++m) begin(m);
    for (int64_t context : plan_.contexts) {
      if (stopped()) break;
      one_context(context);
    }
    if (plan_.serving.requests > 0 && !stopped()) serving();
    return std::move(result_);
  }

 private:
  bool stopped() {
    result_.stopped = result_.stopped || (hooks_.should_stop && hooks_.should_stop());
    return result_.stopped;
  }
  Stop stopping() {
    return [this] { return stopped(); };
  }

  std::unique_ptr<Tape> new_tape(size_t m) const {
    return std::make_unique<Tape>(ctx_, models_[m].model->parameters().precision(), Tape::Mode::no_grad);
  }

  void plan_work() {
    auto models = static_cast<double>(std::count_if(models_.begin(), models_.end(), [](auto& m) { return !!m.model; }));
    auto rounds = static_cast<double>(plan_.rounds), batches = static_cast<double>(plan_.batches.size());
    for (int64_t context : plan_.contexts) {
      work_ += models * ((rounds + 1) * static_cast<double>(context) + rounds * batches * slice_work());
    }
    work_ += models * rounds * serving_work();
  }
  double slice_work() const { return plan_.slice_seconds * kTokensPerSecond; }
  double serving_work() const {
    const ServingScenario& s = plan_.serving;
    return static_cast<double>(s.requests) *
           (static_cast<double>(s.prompt) + kWrittenPerRead * static_cast<double>(s.written));
  }
  void done(double work, const std::string& what) {
    done_ += work;
    if (hooks_.progress) hooks_.progress(std::min(1.0, done_ / std::max(work_, 1.0)), what);
  }

  // A short sequence: touches the weights, prepares what is prepared once, tells what a pass takes.
  void begin(size_t m) {
    const LoadedContender& each = models_[m];
    if (!each.model) return;
    result_.models[m].parameters = each.model->parameters().elements();
    result_.models[m].non_embedding_parameters = each.model->non_embedding_parameters();
    SequenceLoad load(*tapes_[m], *each.model, std::min(kPageTokens, longest(m)), 1);
    load.read(1, plan_.chunk);
    load.write_first();
    pass_bytes_[m] = load.pass_bytes_per_token();
  }

  int64_t longest(size_t m) const {
    return models_[m].model->config().max_seq_len - positions_behind_context(models_[m].model->config());
  }

  // Memory of a pass that reads, beside the caches.
  double pass_bytes(size_t m, int64_t context) const {
    const Model& model = *models_[m].model;
    int64_t piece = model.reads_in_pieces() ? std::min(plan_.chunk, context) : context;
    // Attention goes over a copy of all keys and values.
    return kPassMargin * pass_bytes_[m] * static_cast<double>(piece) +
           static_cast<double>(sequence_pages(model, context, 2).reading);
  }

  // Why a model does not read so long a prompt; empty: it does.
  std::string unreadable(size_t m, int64_t context) const {
    const Model& model = *models_[m].model;
    if (context > longest(m)) return fmt::format("longer than the model's rows ({})", model.config().max_seq_len);
    double bytes = pass_bytes(m, context) + static_cast<double>(sequence_pages(model, context, 2).reading);
    int64_t limit = room(context);
    return bytes <= static_cast<double>(limit) ? "" : does_not_fit(bytes, limit);
  }

  // What the caches of a cell may take together: others may have taken memory since the plan was made.
  int64_t room(int64_t context) const {
    constexpr double kShare = 0.8;
    auto available = static_cast<double>(machine_memory().available);
    if (available == 0) return plan_.cell_bytes;  // the system does not say
    double held = 0;
    for (size_t m = 0; m < loads_.size(); ++m) {
      if (loads_[m]) held += static_cast<double>(bytes_of(m, context, loads_[m]->sequences()));
    }
    return std::min(plan_.cell_bytes, static_cast<int64_t>(held + kShare * available));
  }

  int64_t bytes_of(size_t m, int64_t context, int64_t batch) const {
    return batch * sequence_pages(*models_[m].model, context, 2).writing;
  }

  void one_context(int64_t context) {
    std::vector<size_t> readers;
    for (size_t m = 0; m < models_.size(); ++m) {
      if (!models_[m].model) continue;
      std::string note = unreadable(m, context);
      if (note.empty()) {
        readers.push_back(m);
        continue;
      }
      result_.models[m].first_token.push_back({context, 0, note});
      result_.models[m].cache.push_back({context, {}, note});
      for (int64_t batch : plan_.batches) result_.models[m].decode.push_back({context, batch, 0, 0, 0, note});
    }
    look_at_peak();
    if (read(readers, context)) {
      for (int64_t batch : plan_.batches) {
        if (!decode(readers, context, batch)) break;
      }
    }
    for (auto& load : loads_) load.reset();
  }

  void look_at_peak() {
    result_.peak_read_bytes_per_second =
        std::max(result_.peak_read_bytes_per_second, kernels::measure_peak(ctx_).read_bytes_per_second);
  }

  // Time to the first token, and what one sequence holds. Leaves every reader with one sequence.
  bool read(const std::vector<size_t>& readers, int64_t context) {
    double passes = 0;
    for (size_t m : readers) passes += pass_bytes(m, context);
    bool keep_tapes = passes <= static_cast<double>(room(context));
    std::vector<std::unique_ptr<Tape>> tapes(models_.size());  // those of long prompts grow large
    for (size_t m : readers) {
      tapes[m] = new_tape(m);
      std::optional<StateBytes> figures = measure_cache(*tapes[m], *models_[m].model, context, plan_.chunk, stopping());
      if (!figures) return false;
      if (!keep_tapes) tapes[m] = nullptr;
      result_.models[m].cache.push_back({context, *figures, ""});
      done(static_cast<double>(context), fmt::format("caches at {}", context));
    }
    std::vector<std::vector<double>> seconds(models_.size());
    for (int64_t round = 0; round < plan_.rounds; ++round) {
      for (size_t m : readers) {
        if (!seconds[m].empty() && seconds[m].front() >= kLongReading) {
          done(static_cast<double>(context), "");
          continue;
        }
        loads_[m] = nullptr;  // its pages go before the next ones come
        if (!tapes[m]) tapes[m] = new_tape(m);
        loads_[m] = std::make_unique<SequenceLoad>(*tapes[m], *models_[m].model, context, plan_.batches.back());
        std::optional<double> reading = loads_[m]->read(1, plan_.chunk, stopping());
        if (!reading) return false;
        seconds[m].push_back(*reading + loads_[m]->write_first());
        loads_[m]->use(*tapes_[m]);
        if (!keep_tapes) tapes[m] = nullptr;
        done(static_cast<double>(context), fmt::format("first token at {}", context));
      }
    }
    for (size_t m : readers) {
      result_.models[m].first_token.push_back({context, median(seconds[m]), ""});
    }
    return true;
  }

  // Models whose caches fit together take turns; others come after them. Pages once written stay the load's, so those
  // whose turn it is not hold one sequence or nothing at all.
  bool decode(const std::vector<size_t>& readers, int64_t context, int64_t batch) {
    int64_t limit = room(context);
    std::vector<size_t> waiting;
    for (size_t m : readers) {
      int64_t bytes = bytes_of(m, context, batch);
      if (bytes <= limit) {
        waiting.push_back(m);
        continue;
      }
      result_.models[m].decode.push_back(
          {context, batch, 0, 0, bytes, does_not_fit(static_cast<double>(bytes), limit)});
      loads_[m] = nullptr;
      done(static_cast<double>(plan_.rounds) * slice_work(), "");
    }
    while (!waiting.empty()) {
      std::vector<size_t> together, later;
      int64_t bytes = 0;
      for (size_t m : waiting) {
        int64_t own = bytes_of(m, context, batch);
        bool fits = together.empty() || bytes + own <= limit;
        (fits ? together : later).push_back(m);
        if (fits) bytes += own;
      }
      for (size_t m : later) drop_sequences(m);
      if (!take_turns(together, context, batch)) return false;
      for (size_t m : later.empty() ? later : together) drop_sequences(m);
      waiting = std::move(later);
    }
    return true;
  }

  void drop_sequences(size_t m) {
    if (loads_[m] && loads_[m]->sequences() > 1) loads_[m] = nullptr;
  }

  // A load whose sequences had to go reads its context again. False: stopped.
  bool load(size_t m, int64_t context) {
    if (loads_[m]) return true;
    std::unique_ptr<Tape> tape = new_tape(m);
    loads_[m] = std::make_unique<SequenceLoad>(*tape, *models_[m].model, context, plan_.batches.back());
    if (!loads_[m]->read(1, plan_.chunk, stopping())) return false;
    loads_[m]->use(*tapes_[m]);
    return true;
  }

  bool take_turns(const std::vector<size_t>& together, int64_t context, int64_t batch) {
    for (size_t m : together) {
      if (!load(m, context) || !loads_[m]->resize(batch, plan_.chunk, stopping())) return false;
      loads_[m]->write();
    }
    std::vector<std::vector<double>> medians(models_.size());
    for (int64_t round = 0; round < plan_.rounds; ++round) {
      for (size_t m : together) {
        std::vector<double> steps;
        for (Stopwatch watch; steps.empty() || watch.seconds() < plan_.slice_seconds;) {
          if (stopped()) return false;
          steps.push_back(loads_[m]->write());
        }
        medians[m].push_back(median(steps));
        done(slice_work(), fmt::format("{} at {}, {} together", models_[m].contender->name, context, batch));
      }
    }
    for (size_t m : together) {
      result_.models[m].decode.push_back(
          {context, batch, median(medians[m]), loads_[m]->bytes_read_per_step(), bytes_of(m, context, batch), ""});
    }
    return true;
  }

  ServingScenario scenario_of(size_t m) const {
    ServingScenario scenario = plan_.serving;
    int64_t twin = twin_of(models_, models_[m].contender->family);
    if (scenario.cache_bytes == 0) {
      const Model& measure = *models_[twin >= 0 ? static_cast<size_t>(twin) : m].model;
      scenario.cache_bytes =
          plan_.twin_sequences * sequence_pages(measure, scenario.prompt - 1, scenario.written).writing;
    }
    return scenario;
  }

  void serving() {
    std::vector<size_t> able;
    for (size_t m = 0; m < models_.size(); ++m) {
      if (!models_[m].model) continue;
      ServingCell& cell = result_.models[m].serving;
      ServingScenario scenario = scenario_of(m);
      cell.cache_bytes = scenario.cache_bytes;
      int64_t one = 0;
      if (scenario.prompt + scenario.written > longest(m)) {
        cell.note = fmt::format("longer than the model's rows ({})", models_[m].model->config().max_seq_len);
      } else if (one = sequence_pages(*models_[m].model, scenario.prompt - 1, scenario.written).reading;
                 one > scenario.cache_bytes) {
        cell.note = "one sequence " + does_not_fit(static_cast<double>(one), scenario.cache_bytes);
      } else {
        able.push_back(m);
      }
    }
    std::vector<std::vector<ServingFigures>> rounds(models_.size());
    for (int64_t round = 0; round < plan_.rounds; ++round) {
      for (size_t m : able) {
        std::optional<ServingFigures> figures = serve_or_say(m);
        if (!figures) return keep_serving(able, rounds);
        rounds[m].push_back(*figures);
        done(serving_work(), fmt::format("{} under a memory limit", models_[m].contender->name));
      }
    }
    keep_serving(able, rounds);
  }

  // What goes wrong with one model leaves the other figures as they are.
  std::optional<ServingFigures> serve_or_say(size_t m) {
    try {
      return serve(ctx_, *models_[m].model, scenario_of(m), stopping());
    } catch (const std::exception& error) {
      ServingFigures figures;
      figures.error = error.what();
      return figures;
    }
  }

  // Of each time the median: rounds differ in nothing else.
  void keep_serving(const std::vector<size_t>& able, const std::vector<std::vector<ServingFigures>>& rounds) {
    for (size_t m : able) {
      if (rounds[m].empty()) continue;
      auto middle = [&](double ServingFigures::*time) {
        std::vector<double> values;
        for (const ServingFigures& each : rounds[m]) values.push_back(each.*time);
        return median(values);
      };
      ServingCell& cell = result_.models[m].serving;
      cell.figures = rounds[m].front();
      for (auto time : {&ServingFigures::seconds, &ServingFigures::read_seconds, &ServingFigures::write_seconds}) {
        cell.figures.*time = middle(time);
      }
      cell.note = cell.figures.error;
    }
  }

  Context& ctx_;
  const ComparisonPlan& plan_;
  const std::vector<LoadedContender>& models_;
  const ComparisonHooks& hooks_;
  ComparisonResult result_;
  std::vector<std::unique_ptr<Tape>> tapes_;          // of passes that write
  std::vector<std::unique_ptr<SequenceLoad>> loads_;  // of the context at hand
  std::vector<double> pass_bytes_;                    // per token of a pass that reads
  double work_ = 0, done_ = 0;
};

}  // namespace

int64_t twin_of(const std::vector<LoadedContender>& models, int64_t family) {
  for (size_t m = 0; m < models.size(); ++m) {
    const Contender& each = *models[m].contender;
    bool twin = each.config.arch == Arch::decoder && each.role != ContenderRole::equal_decode_cost;
    if (models[m].model && each.family == family && twin) return static_cast<int64_t>(m);
  }
  return -1;
}

ComparisonResult compare(Context& ctx, const ComparisonPlan& plan, const std::vector<LoadedContender>& models,
                         const ComparisonHooks& hooks) {
  return Comparison(ctx, plan, models, hooks).run();
}

}  // namespace tandem
