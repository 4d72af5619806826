#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "arch/model_folder.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/step.h"

namespace tandem {
namespace {

// A run that has seen this many steps without a finite loss and gradient in a row does not recover.
constexpr int64_t kMostSkippedInRow = 10;

std::string precision_name(const Precision& precision) {
  return precision == Precision::bfloat16() ? "bf16" : "float32";
}

OrderedJson score_to_json(const HeldOutScore& score) {
  return {{"heldout_loss", score.loss},
          {"heldout_bits_per_byte", score.bits_per_byte},
          {"heldout_accuracy", score.accuracy}};
}

HeldOutScore score_from_json(const Json& json) {
  return {json.value("heldout_loss", 0.0), json.value("heldout_bits_per_byte", 0.0),
          json.value("heldout_accuracy", 0.0)};
}

std::optional<TrainResult> finished_before(const RunConfig& config, const RunFolder& folder, int64_t total) {
  std::optional<Json> json = folder.finished();
  if (!json || !std::filesystem::exists(folder.model() / "config.json")) return std::nullopt;
  bool by_steps = total > 0 && json->value("steps", int64_t{0}) >= total;
  bool by_clock = config.max_seconds > 0 && json->value("max_seconds", 0.0) >= config.max_seconds;
  if (!by_steps && !by_clock) return std::nullopt;
  TrainResult result;
  result.end = TrainResult::End::was_finished;
  result.steps = result.total_steps = json->value("steps", int64_t{0});
  result.tokens = json->value("tokens", int64_t{0});
  result.loss = json->value("loss", 0.0);
  result.tokens_per_second = json->value("tokens_per_second", 0.0);
  result.seconds = json->value("seconds", 0.0);
  if (json->contains("heldout_loss") && !(*json)["heldout_loss"].is_null()) result.heldout = score_from_json(*json);
  result.model = folder.model();
  return result;
}

// One start of a run.
class Trainer {
 public:
  Trainer(Context& ctx, const RunConfig& config, const RunData& data, const TrainHooks& hooks, const RunFolder& folder,
          int64_t total)
      : config_(config),
        data_(data),
        hooks_(hooks),
        folder_(folder),
        total_(total),
        precision_(choose_precision(config.precision, ctx.isa())),
        model_(make_model(resolve_model(config, data.tokenizer.vocab_size()), precision_,
                          ParameterStore::Gradients::wanted, config.output)),
        tape_(ctx, precision_, Tape::Mode::record),
        optimizer_(ctx, model_->parameters(), config.optimizer, model_->config().matrix_rate_factor()),
        step_(*model_, tape_, optimizer_),
        rows_(data.tokens.rows(config.model.max_seq_len, config.data.seed)),
        heldout_(data.tokens.heldout_rows(config.model.max_seq_len, config.eval_rows)),
        checkpoints_(folder.checkpoints()),
        isa_(isa_name(ctx.isa())) {
    if (config.precision == PrecisionChoice::bfloat16 && precision_ == Precision::float32()) {
      say(fmt::format("no bf16 products on {}: computing in float32", isa_));
    }
    start();
    log_.emplace(folder.log(), state_.step);
  }

  TrainResult run() {
    first_step_ = state_.step;
    seconds_before_ = state_.seconds;
    watch_.restart();
    window_watch_.restart();
    bool stopped = false;
    ended_ = past_end();
    while (!ended_ && !stopped) {
      one_step();
      ended_ = past_end();
      after_step();
      stopped = !ended_ && hooks_.should_stop && hooks_.should_stop();
    }
    TrainResult result;
    if (stopped) {
      save();
      result.end = TrainResult::End::stopped;
    } else {
      finish();
    }
    fill(result);
    if (!stopped) set_finished(result);
    return result;
  }

 private:
  void say(const std::string& line) const {
    if (hooks_.notice) {
      hooks_.notice(line);
    } else {
      log::info(std::string_view(line));
    }
  }

  // Fresh parameters, or those of the newest checkpoint.
  void start() {
    std::optional<int64_t> step = checkpoints_.newest();
    if (!step) {
      model_->parameters().initialise(static_cast<uint64_t>(config_.seed));
      return;
    }
    state_ = checkpoints_.load(*step, optimizer_);
    std::string where = checkpoints_.path(*step).string();
    if (state_.tokenizer != data_.tokenizer.hash()) {
      throw InputError({.what = "checkpoint of another tokenizer",
                        .where = where,
                        .got = state_.tokenizer,
                        .expected = data_.tokenizer.hash()});
    }
    rows_.restore(state_.cursor, where);
    saved_ = state_.step;
    if (state_.isa != isa_ || state_.precision != precision_name(precision_)) {
      say(fmt::format("the run began on {} in {} and goes on, on {} in {}: numbers will differ in rounding", state_.isa,
                      state_.precision, isa_, precision_name(precision_)));
    }
    if (!past_end()) say(fmt::format("going on from step {}", state_.step));
  }

  double seconds() const { return seconds_before_ + watch_.seconds(); }

  bool past_end() const {
    if (total_ > 0 && state_.step >= total_) return true;
    // The half step makes the end as often early as late.
    return config_.max_seconds > 0 && state_.step > 0 && seconds() + step_seconds_ / 2 >= config_.max_seconds;
  }

  // Share of the run that is done.
  double fraction() const {
    double steps = total_ > 0 ? static_cast<double>(state_.step) / static_cast<double>(total_) : 0;
    double time = config_.max_seconds > 0 ? seconds() / config_.max_seconds : 0;
    return std::min(1.0, std::max(steps, time));
  }

  double rate_factor_now() const {
    if (config_.max_seconds > 0) return rate_factor_at(config_.schedule, fraction(), state_.step);
    return rate_factor(config_.schedule, state_.step, total_);
  }

  void one_step() {
    Stopwatch watch;
    double factor = rate_factor_now();
    for (int64_t micro = 0; micro < config_.grad_accum; ++micro) {
      Batch batch = rows_.next_batch(config_.micro_batch);
      // A stream of its own for every micro-batch: a resumed run draws what the first one would have drawn.
      Rng rng(static_cast<uint64_t>(config_.seed), static_cast<uint64_t>(state_.step * config_.grad_accum + micro));
      model_->prepare(batch, rng);
      step_.accumulate(batch);
    }
    last_ = step_.finish(factor);
    learning_rate_ = config_.optimizer.lr * factor;
    ++state_.step;
    state_.tokens += config_.tokens_per_step();
    step_seconds_ = watch.seconds();
    average_step_ = average_step_ > 0 ? 0.9 * average_step_ + 0.1 * step_seconds_ : step_seconds_;
    guard();
    show_progress();
  }

  // A step without finite loss and gradient has changed nothing; it is counted, and too many in a row end the run.
  void guard() {
    if (last_.applied) {
      state_.skipped_in_row = 0;
      state_.loss = last_.loss;
      state_.window_loss += last_.loss * static_cast<double>(last_.tokens);
      state_.window_labelled += last_.tokens;
      return;
    }
    std::string reason = last_.tokens == 0  ? "no labelled token"
                         : last_.non_finite ? fmt::format("gradient of '{}' not finite", last_.non_finite->name())
                                            : "loss not finite";
    ++state_.skipped;
    ++state_.skipped_in_row;
    log_->write({{"step", state_.step}, {"skipped", reason}});
    say(fmt::format("step {} skipped: {}", state_.step, reason));
    if (state_.skipped_in_row < kMostSkippedInRow) return;
    throw JobError({.what = fmt::format("{} steps in a row without a finite loss and gradient", kMostSkippedInRow),
                    .where = folder_.path().string(),
                    .got = reason,
                    .hint = saved_ > 0
                                ? fmt::format("the checkpoint of step {} stays; try a lower optimizer.lr", saved_)
                                : "try a lower optimizer.lr"});
  }

  void show_progress() const {
    if (!hooks_.progress) return;
    TrainProgress p;
    p.step = state_.step;
    p.total_steps = total_;
    p.fraction = fraction();
    p.tokens = state_.tokens;
    p.loss = last_.loss;
    p.learning_rate = learning_rate_;
    p.tokens_per_second = static_cast<double>(config_.tokens_per_step()) / average_step_;
    p.seconds = seconds();
    double by_steps = total_ > 0 ? static_cast<double>(total_ - state_.step) * average_step_ : 1e18;
    double by_clock = config_.max_seconds > 0 ? config_.max_seconds - p.seconds : 1e18;
    p.seconds_left = std::max(0.0, std::min(by_steps, by_clock));
    hooks_.progress(p);
  }

  static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

  void after_step() {
    if (due(state_.step, config_.log_every) || ended_) write_log_line();
    if (ended_) return;
    if (due(state_.step, config_.eval_every)) validate();
    if (due(state_.step, config_.checkpoint_every)) save();
  }

  // Loss: mean over the steps since the line before.
  void write_log_line() {
    if (state_.window_labelled == 0) return;
    double passed = window_watch_.restart();
    auto steps = static_cast<double>(state_.step - std::max(window_start_, first_step_));
    log_->write({{"step", state_.step},
                 {"tokens", state_.tokens},
                 {"loss", state_.window_loss / static_cast<double>(state_.window_labelled)},
                 {"learning_rate", learning_rate_},
                 {"grad_norm", last_.grad_norm},
                 {"tokens_per_second", steps * static_cast<double>(config_.tokens_per_step()) / passed},
                 {"seconds", seconds()}});
    state_.window_loss = 0;
    state_.window_labelled = 0;
    window_start_ = state_.step;
  }

  void validate() {
    if (!hooks_.validate) return;
    tape_.reset();
    tape_.set_mode(Tape::Mode::no_grad);
    HeldOutScore score = hooks_.validate(*model_, tape_, heldout_);
    tape_.reset();
    tape_.set_mode(Tape::Mode::record);
    OrderedJson line = {{"step", state_.step}, {"tokens", state_.tokens}};
    line.update(score_to_json(score));
    log_->write(line);
    state_.heldout = Json::parse(line.dump());
    say(fmt::format("step {}: held-out loss {:.4f}, {:.4f} bits per byte, accuracy {:.1f} %", state_.step, score.loss,
                    score.bits_per_byte, 100 * score.accuracy));
  }

  bool validated_now() const {
    return state_.heldout.is_object() && state_.heldout.value("step", int64_t{-1}) == state_.step;
  }

  void save() {
    if (saved_ == state_.step) return;
    log_->sync();
    state_.seconds = seconds();
    state_.updates = optimizer_.updates();
    state_.cursor = Json::parse(rows_.state().dump());
    state_.tokenizer = data_.tokenizer.hash();
    state_.isa = isa_;
    state_.precision = precision_name(precision_);
    checkpoints_.save(state_, optimizer_, config_.keep_checkpoints);
    saved_ = state_.step;
  }

  void finish() {
    if (!validated_now()) validate();
    save();
    save_model(folder_.model(), *model_, data_.tokenizer.json());
  }

  void fill(TrainResult& result) const {
    result.steps = state_.step;
    result.total_steps = total_;
    result.tokens = state_.tokens;
    result.loss = state_.loss;
    if (validated_now()) result.heldout = score_from_json(state_.heldout);
    result.seconds = seconds();
    double passed = watch_.seconds();
    auto read = static_cast<double>((state_.step - first_step_) * config_.tokens_per_step());
    result.tokens_per_second = passed > 0 ? read / passed : 0;
    result.model = folder_.model();
  }

  void set_finished(const TrainResult& result) const {
    OrderedJson json = to_json(result);
    json["seconds"] = result.seconds;
    json["max_seconds"] = config_.max_seconds;
    folder_.set_finished(json);
  }

  const RunConfig& config_;
  const RunData& data_;
  const TrainHooks& hooks_;
  const RunFolder& folder_;
  int64_t total_;
  Precision precision_;
  std::unique_ptr<Model> model_;
  Tape tape_;
  Optimizer optimizer_;
  TrainingStep step_;
  RowStream rows_;
  HeldOut heldout_;
  CheckpointStore checkpoints_;
  std::string isa_;
  std::optional<RunLog> log_;

  RunState state_;
  StepResult last_;
  double learning_rate_ = 0;
  bool ended_ = false;
  int64_t saved_ = -1;        // step of the last checkpoint
  int64_t first_step_ = 0;    // where this start began
  int64_t window_start_ = 0;  // step of the last line of the log
  double seconds_before_ = 0;
  double step_seconds_ = 0;
  double average_step_ = 0;
  Stopwatch watch_;
  Stopwatch window_watch_;
};

}  // namespace

OrderedJson to_json(const TrainResult& result) {
  OrderedJson json = {{"steps", result.steps}, {"tokens", result.tokens}, {"loss", result.loss}};
  if (result.heldout) {
    json.update(score_to_json(*result.heldout));
  } else {
    json["heldout_loss"] = json["heldout_bits_per_byte"] = json["heldout_accuracy"] = nullptr;
  }
  json["tokens_per_second"] = result.tokens_per_second;
  json["model"] = result.model.string();
  return json;
}

namespace {

// Data that cannot be used must not leave a folder behind that refuses the corrected config.
template <class Job>
auto or_abandon(RunFolder& folder, const Job& job) {
  try {
    return job();
  } catch (const InputError&) {
    folder.abandon();
    throw;
  }
}

TrainResult train_in(RunFolder& folder, Context& ctx, const RunConfig& config, const RunData& data,
                     const TrainHooks& hooks) {
  int64_t total = total_steps(config, data.tokens.training().tokens());
  if (std::optional<TrainResult> result = finished_before(config, folder, total)) return *result;
  auto trainer = or_abandon(folder, [&] { return std::make_unique<Trainer>(ctx, config, data, hooks, folder, total); });
  return trainer->run();
}

}  // namespace

TrainResult train(Context& ctx, const RunConfig& config, const RunData& data, const TrainHooks& hooks) {
  check(config, config.output);
  total_steps(config, 0);
  RunFolder folder(config);
  return train_in(folder, ctx, config, data, hooks);
}

TrainResult train(Context& ctx, const RunConfig& config, const TrainHooks& hooks) {
  check(config, config.output);
  total_steps(config, 0);  // a length that is wrong is said before the folder is made
  RunFolder folder(config);
  RunData data = or_abandon(folder, [&] { return prepare_run_data(config.data, ctx.pool(), folder.path()); });
  return train_in(folder, ctx, config, data, hooks);
}

}  // namespace tandem
