#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <future>

#include "arch/model_folder.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "dist/collectives.h"
#include "kernels/matrix_library.h"
#include "train/batch_feed.h"
#include "train/checkpoint.h"
#include "train/estimate.h"
#include "train/init.h"
#include "train/measure_products.h"
#include "train/non_finite.h"
#include "train/progress.h"
#include "train/run_folder.h"
#include "train/run_ranks.h"
#include "train/run_recorder.h"
#include "train/step.h"

namespace tandem {
namespace {

// Data that gives this many steps without a labelled token in a row will not teach anything.
constexpr int64_t kMostUnlabelledInRow = 10;

std::string precision_name(const Precision& precision) {
  return precision == Precision::bfloat16() ? "bf16" : "float32";
}

std::optional<TrainResult> finished_before(const RunConfig& config, const RunFolder& folder, int64_t total) {
  std::optional<Json> json = folder.finished();
  if (!json || !std::filesystem::exists(folder.model() / "config.json")) return std::nullopt;
  bool by_steps = total > 0 && json->value("steps", int64_t{0}) >= total;
  bool by_clock = config.max_seconds > 0 && json->value("max_seconds", 0.0) >= config.max_seconds;
  if (!by_steps && !by_clock) return std::nullopt;
  TrainResult result = finished_result(*json);
  result.model = folder.model();
  return result;
}

// What ranks have sent and waited for in the steps of this start; validations and checkpoints are not counted.
struct Exchanged {
  int64_t bytes_sent = 0;
  double wait_seconds = 0;
  double step_seconds = 0;
  int64_t steps = 0;
};

// The tape records nothing while it lives.
class NoGradients {
 public:
  explicit NoGradients(Tape& tape) : tape_(tape) { set(Tape::Mode::no_grad); }
  NoGradients(const NoGradients&) = delete;
  NoGradients& operator=(const NoGradients&) = delete;
  ~NoGradients() { set(Tape::Mode::record); }

 private:
  void set(Tape::Mode mode) {
    tape_.reset();
    tape_.set_mode(mode);
  }

  Tape& tape_;
};

// `before`: step of the checkpoint that stays when this one is not written; -1: there is none.
template <class Job>
void saying_which_checkpoint(int64_t step, int64_t before, const Job& job) {
  try {
    job();
  } catch (const JobError& error) {
    throw JobError({.what = fmt::format("the checkpoint of step {} could not be written", step),
                    .got = error.what(),
                    .hint = before >= 0
                                ? fmt::format("that of step {} stays; started again, the run goes on from it", before)
                                : "started again, the run begins anew"});
  }
}

// One start of a run.
class Trainer {
 public:
  Trainer(Context& ctx, const RunConfig& config, const RunData& data, const TrainHooks& hooks, const RunFolder& folder,
          RunRanks& ranks, int64_t total)
      : config_(config),
        data_(data),
        hooks_(hooks),
        folder_(folder),
        ranks_(ranks),
        total_(total),
        precision_(choose_precision(config.precision, ctx.isa())),
        model_(make_model(model_config_of(config, data), precision_, ParameterStore::Gradients::wanted, config.output)),
        tape_(ctx, precision_, Tape::Mode::record),
        parallel_(ranks.connect(ctx, model_->parameters(), config.zero)),
        optimizer_(ctx, model_->parameters(), config.optimizer, model_->config().matrix_rate_factor(),
                   parallel_ ? parallel_->owned() : std::vector<ElementRange>{}),
        step_(*model_, tape_, optimizer_, parallel_),
        feed_(data.tokens.rows(config.model.max_seq_len, config.data.seed), *model_, feed_plan()),
        heldout_(data.tokens.heldout_rows(config.model.max_seq_len, config.eval_rows)),
        checkpoints_(folder.checkpoints()),
        surroundings_{.isa = std::string(isa_name(ctx.isa())),
                      .precision = precision_name(precision_),
                      .processor = processor_name(),
                      .matrix_library = kernels::matrix_library()} {
    tape_.set_recompute(config.recompute);
    if (ranks_.leads()) data.tokens.warn_of_long(config.model.max_seq_len);
    heldout_.set_objective(objective_of(config));
    if (config.precision == PrecisionChoice::bfloat16 && precision_ == Precision::float32()) {
      say(fmt::format("no bf16 products on {}: computing in float32", surroundings_.isa));
    }
    check_model_memory(config, model_->parameters(), ranks_.machine_ranks());
    ranks_.require_same(fmt::format("{} {}", surroundings_.isa, surroundings_.precision),
                        "instruction set or precision");
    ranks_.require_same(surroundings_.matrix_library, "the library of matrix products");
    ranks_.require_same(hex64(hash64(to_toml(config))), "the run's config");
    ranks_.require_same(data.tokenizer.hash() + data.tokens.training().hash(), "the text or its tokenizer");
    if (config.products == ProductsBy::measurement) settle_products(ctx);
    start();
    if (!past_end()) say_estimate(ctx);
  }

  TrainResult run() {
    if (ranks_.leads()) {
      recorder_.emplace(folder_.log(), config_.tensorboard ? folder_.events() : std::filesystem::path(),
                        RunRecorder::Place{state_.step, state_.log_bytes});
    }
    first_step_ = state_.step;
    seconds_before_ = state_.seconds;
    watch_.restart();
    window_watch_.restart();
    decide(Ask::whether_to_stop);
    ended_ = past_end();
    bool stopped = !ended_ && decision_.stop;
    while (!ended_ && !stopped) {
      int64_t sent = bytes_sent();
      one_step();
      if (config_.max_seconds > 0) decide(Ask::the_clock);
      ended_ = past_end();
      exchanged_.bytes_sent += bytes_sent() - sent;
      if (!roll_back_if_diverged()) after_step();
      sent = bytes_sent();
      decide(Ask::whether_to_stop);
      exchanged_.bytes_sent += bytes_sent() - sent;
      stopped = !ended_ && decision_.stop;
    }
    all_bytes_sent_ = ranks_.sum(exchanged_.bytes_sent);
    overlap_.step_seconds += wait_for_checkpoint([&] { finish_saving(); });
    TrainResult result;
    result.overlap = overlap();
    if (stopped) {
      if (state_.step > 0) save();
      finish_saving();
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
    if (!ranks_.leads()) return;
    if (hooks_.notice) {
      hooks_.notice(line);
    } else {
      log::info(std::string_view(line));
    }
  }

  // As rank 0 has measured, at this start or an earlier one.
  void settle_products(Context& ctx) {
    const std::string where = folder_.products().string();
    const std::string text = ranks_.led(ranks_.leads() ? measured_products(ctx) : "");
    chosen_.emplace(ctx.gemm(), product_choices_from_json(parse_json(text, where), where), where);
  }

  std::string measured_products(Context& ctx) const {
    const RunConfig share = ranks_.share_of(config_);
    const RunProducts run{
        .ctx = ctx,
        .model = *model_,
        .recompute = share.recompute,
        .rows = [&](int64_t rows) { return packed_rows(data_, share, rows, share.model.max_seq_len); },
        .training_rows = share.micro_batch,
        .validation_rows = hooks_.validate && heldout_.rows() > 0 ? hooks_.validation_rows : 0};
    return keep_choices(folder_.products(), surroundings_, run, [&](const std::string& line) { say(line); });
  }

  void say_estimate(Context& ctx) {
    const RunConfig share = ranks_.share_of(config_);
    RunEstimate e = estimate_run({.ctx = ctx,
                                  .config = share,
                                  .data = data_,
                                  .model = *model_,
                                  .optimizer = optimizer_,
                                  .total_steps = total_,
                                  .steps_done = state_.step,
                                  .heldout_rows = hooks_.validate ? heldout_.rows() : 0,
                                  .validation_rows = hooks_.validation_rows,
                                  .ranks = ranks_.size(),
                                  .machine_ranks = ranks_.machine_ranks(),
                                  .moment_elements = own_moments(),
                                  .exchange_bytes = parallel_ ? parallel_->buffer_bytes() : 0});
    say(fmt::format("about {} of training; memory about {} of {}; disk about {} of {} free",
                    clock_text(e.time.total_seconds), bytes_text(e.memory.total()), bytes_text(e.machine_memory),
                    bytes_text(e.disk.total()), bytes_text(e.disk.free)));
    if (e.disk.total() > e.disk.free) say("warning: the disk may become full; the run then ends with its checkpoints");
  }

  FeedPlan feed_plan() const {
    return {.micro_batch = config_.micro_batch,
            .grad_accum = config_.grad_accum,
            .seed = static_cast<uint64_t>(config_.seed),
            .objective = objective_of(config_),
            .share = ranks_.share(),
            .total_steps = total_};
  }

  // -1: all.
  int64_t own_moments() const {
    return parallel_ && parallel_->zero() ? parallel_->sharding().owned_elements(parallel_->ranks().rank()) : -1;
  }

  enum class Ask { the_clock, whether_to_stop };

  // Behind it all ranks are past the end, or stop, alike.
  void decide(Ask ask) {
    bool stop = ask == Ask::whether_to_stop && hooks_.should_stop && hooks_.should_stop();
    decision_ = ranks_.decide({.seconds = seconds(), .step_seconds = step_seconds_, .stop = stop});
  }

  int64_t bytes_sent() const { return parallel_ ? parallel_->ranks().traffic().bytes_sent : 0; }
  double waited() const { return parallel_ ? parallel_->ranks().traffic().wait_seconds : 0; }

  // Fresh parameters, or those of the newest checkpoint.
  void start() {
    int64_t step = ranks_.led(ranks_.leads() ? checkpoints_.newest().value_or(-1) : -1);
    if (step < 0) return begin();
    state_ = checkpoints_.load(step, optimizer_);
    std::string where = checkpoints_.path(step).string();
    if (state_.tokenizer != data_.tokenizer.hash()) {
      throw InputError({.what = "checkpoint of another tokenizer",
                        .where = where,
                        .got = state_.tokenizer,
                        .expected = data_.tokenizer.hash()});
    }
    feed_.restore(state_.cursor, where);
    saved_ = state_.step;
    if (std::string other = differences(state_.surroundings, surroundings_); !other.empty()) {
      say(fmt::format(
          "the run goes on with {}: the last bits of its numbers may differ from those of a run that stayed", other));
    }
    if (!past_end()) say(fmt::format("going on from step {}", state_.step));
  }

  // Random ones, or those of another model.
  void first_parameters() {
    auto seed = static_cast<uint64_t>(config_.seed);
    if (config_.init.empty()) {
      model_->parameters().initialise(seed);
      return;
    }
    Origin origin = begin_with(find_init(config_.init), data_.tokenizer, *model_, seed);
    if (ranks_.leads()) folder_.set_origin(to_json(origin));
    say(fmt::format("beginning with {}", origin.model));
    if (!origin.added_tokens.empty()) {
      say(fmt::format("new in the vocabulary: {}", fmt::join(origin.added_tokens, " ")));
    }
  }

  // The state of step 0. The rows go on where they are.
  void begin() {
    first_parameters();
    optimizer_.reset();
    state_ = {};
  }

  double seconds() const { return seconds_before_ + watch_.seconds(); }

  bool past_end() const {
    if (total_ > 0 && state_.step >= total_) return true;
    // The half step makes the end as often early as late.
    return config_.max_seconds > 0 && state_.step > 0 &&
           decision_.seconds + decision_.step_seconds / 2 >= config_.max_seconds;
  }

  // Share of the run that is done.
  double fraction() const {
    double steps = total_ > 0 ? static_cast<double>(state_.step) / static_cast<double>(total_) : 0;
    double time = config_.max_seconds > 0 ? decision_.seconds / config_.max_seconds : 0;
    return std::min(1.0, std::max(steps, time));
  }

  double rate_factor_now() const {
    if (config_.max_seconds > 0) return rate_factor_at(config_.schedule, fraction(), state_.step);
    return rate_factor(config_.schedule, state_.step, total_);
  }

  void one_step() {
    Stopwatch watch;
    double waited_before = waited();
    double factor = rate_factor_now() * state_.guard.rate_scale;
    // Kept until the next step: the guard looks at them again when something is not finite.
    batches_ = feed_.take(state_.step);
    for (const Batch& batch : batches_) step_.accumulate(batch, &batch == &batches_.back());
    // It reads what the optimizer is about to change.
    wait_for_checkpoint([&] { finish_saving(); });
    last_ = step_.finish(factor);
    learning_rate_ = config_.optimizer.lr * factor;
    ++state_.step;
    state_.tokens += config_.tokens_per_step();
    step_seconds_ = watch.seconds();
    exchanged_.wait_seconds += waited() - waited_before;
    exchanged_.step_seconds += step_seconds_;
    ++exchanged_.steps;
    average_step_ = average_step_ > 0 ? 0.9 * average_step_ + 0.1 * step_seconds_ : step_seconds_;
    judgement_ = judge(config_.guard, state_.guard, last_);
    take_into_account();
    show_progress();
  }

  void record(const OrderedJson& line) {
    if (recorder_) recorder_->write(line);
  }

  void take_into_account() {
    if (last_.applied) {
      state_.unlabelled_in_row = 0;
      state_.loss = last_.loss;
      state_.window_loss += last_.loss * static_cast<double>(last_.tokens);
      state_.window_labelled += last_.tokens;
    } else {
      count_skipped();
    }
    if (judgement_.outlier_over > 0) {
      record({{"step", state_.step},
              {"outlier_grad_norm", last_.grad_norm},
              {"median_grad_norm", judgement_.outlier_over}});
    }
  }

  // A step without finite loss and gradient, or without labels, has changed nothing.
  void count_skipped() {
    std::string reason = "no labelled token";
    if (last_.tokens > 0) {
      reason = ranks_.first_said(first_non_finite(*model_, tape_, batches_)) + " is not finite";
      state_.unlabelled_in_row = 0;
    } else {
      ++state_.unlabelled_in_row;
    }
    ++state_.skipped;
    record({{"step", state_.step}, {"skipped", reason}});
    say(fmt::format("step {} skipped: {}", state_.step, reason));
    if (state_.unlabelled_in_row < kMostUnlabelledInRow) return;
    throw JobError({.what = fmt::format("{} steps in a row without a labelled token", kMostUnlabelledInRow),
                    .where = folder_.path().string(),
                    .hint = "is there anything to learn in the training rows?"});
  }

  // Back to the last good checkpoint, or to the beginning, with a lower rate and the rows that follow those of the
  // divergence. Nothing of this is stored: a run that is killed before its next checkpoint diverges once more, in the
  // same way, and comes to the same place.
  bool roll_back_if_diverged() {
    if (judgement_.divergence.empty()) return false;
    std::string where = folder_.path().string();
    if (state_.guard.rollbacks >= config_.guard.max_rollbacks) {
      throw Diverged(
          {.what = fmt::format("the run diverges at step {}", state_.step),
           .where = where,
           .got = fmt::format("{}, after going back {} times", judgement_.divergence, state_.guard.rollbacks),
           .hint = "try a lower optimizer.lr; the checkpoints stay"});
    }
    finish_saving();
    RunState diverged = state_;
    // The step behind a checkpoint is the first to compute with its parameters: it must have gone well.
    int64_t last = state_.step - state_.guard.troubled_in_row - 1;
    int64_t good = ranks_.led(ranks_.leads() ? checkpoints_.newest_anchor(last).value_or(-1) : -1);
    if (good >= 0) {
      state_ = checkpoints_.load(good, optimizer_);
    } else {
      begin();
    }
    ranks_.wait_for_all();
    if (ranks_.leads()) checkpoints_.remove_after(state_.step);
    state_.guard = after_rollback(config_.guard, state_.guard, diverged.guard);
    state_.skipped = diverged.skipped;
    saved_ = good >= 0 ? state_.step : -1;
    window_start_ = state_.step;
    ended_ = false;
    if (recorder_) {
      recorder_->write_rollback({{"step", diverged.step},
                                 {"rollback_to", state_.step},
                                 {"reason", judgement_.divergence},
                                 {"learning_rate_scale", state_.guard.rate_scale}},
                                state_.step);
    }
    say(fmt::format("step {}: {}; back to step {}, learning rates times {:g}", diverged.step, judgement_.divergence,
                    state_.step, state_.guard.rate_scale));
    return true;
  }

  void show_progress() const {
    if (!hooks_.progress || !ranks_.leads()) return;
    TrainProgress p;
    p.step = state_.step;
    p.total_steps = total_;
    p.fraction = fraction();
    p.tokens = state_.tokens;
    p.loss = last_.loss;
    p.learning_rate = learning_rate_;
    p.grad_norm = last_.grad_norm;
    p.skipped = state_.skipped;
    p.rollbacks = state_.guard.rollbacks;
    p.tokens_per_second = static_cast<double>(config_.tokens_per_step()) / average_step_;
    p.seconds = seconds();
    double by_steps = total_ > 0 ? static_cast<double>(total_ - state_.step) * average_step_ : 1e18;
    double by_clock = config_.max_seconds > 0 ? config_.max_seconds - p.seconds : 1e18;
    p.seconds_left = std::max(0.0, std::min(by_steps, by_clock));
    hooks_.progress(p);
  }

  static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

  // A checkpoint that falls into trouble waits for the first calm step.
  bool checkpoint_due() const {
    int64_t every = config_.checkpoint_every;
    return every > 0 && state_.guard.calm() && state_.step / every > state_.anchor / every;
  }

  void after_step() {
    if (due(state_.step, config_.log_every) || ended_) write_log_line();
    if (ended_) return;
    bool best = due(state_.step, config_.eval_every) && validate();
    if (!best && !checkpoint_due()) return;
    state_.anchor = state_.step;
    overlap_.step_seconds += wait_for_checkpoint([&] { save(); });
  }

  // Loss: mean over the steps since the line before.
  void write_log_line() {
    if (state_.window_labelled == 0) return;
    double passed = window_watch_.restart();
    auto steps = static_cast<double>(state_.step - std::max(window_start_, first_step_));
    record({{"step", state_.step},
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

  HeldOutScore score_heldout() {
    NoGradients scope(tape_);
    return hooks_.validate(*model_, tape_, heldout_);
  }

  // Whether a checkpoint has to be kept for it.
  bool validate() {
    if (!hooks_.validate) return false;
    HeldOutScore score = ranks_.leads() ? score_heldout() : HeldOutScore{};
    if (parallel_) score = score_from_json(parse_json(ranks_.led(to_json(score).dump()), "rank 0"));
    OrderedJson line = {{"step", state_.step}, {"tokens", state_.tokens}};
    line.update(to_json(score));
    state_.heldout = Json::parse(line.dump());
    if (ranks_.leads() && hooks_.evaluate) add_evaluation(line);
    record(line);
    say(fmt::format("step {}: held-out loss {:.4f}, {:.4f} bits per byte, accuracy {:.1f} %", state_.step, score.loss,
                    score.bits_per_byte, 100 * score.accuracy));
    bool best = config_.keep_best && state_.guard.calm() && std::isfinite(score.loss) &&
                (state_.best.step < 0 || score.loss < state_.best.loss);
    if (best) state_.best = {.step = state_.step, .loss = score.loss};
    return best;
  }

  // A question or prompt that does not fit must not end a run that is on its way.
  void add_evaluation(OrderedJson& line) {
    try {
      NoGradients scope(tape_);
      line.update(hooks_.evaluate(*model_, tape_, data_));
    } catch (const InputError& error) {
      say(fmt::format("evaluation left out: {}", error.what()));
    }
  }

  bool validated_now() const {
    return state_.heldout.is_object() && state_.heldout.value("step", int64_t{-1}) == state_.step;
  }

  void save() {
    if (saved_ == state_.step) return;
    finish_saving();
    ranks_.require_same_parameters(model_->parameters());
    std::deque<Moments> moments;
    if (parallel_) moments = parallel_->gather_moments(optimizer_);
    if (ranks_.leads()) begin_saving(std::move(moments));
    saved_ = state_.step;
  }

  // The checkpoint is written beside the next step's forward and backward passes, which change nothing of it.
  void begin_saving(std::deque<Moments> moments) {
    const int64_t before = saved_;
    saying_which_checkpoint(state_.step, before, [&] { recorder_->sync(); });
    state_.log_bytes = recorder_->log_bytes();
    state_.seconds = seconds();
    state_.updates = optimizer_.updates();
    state_.cursor = Json::parse(feed_.rows().state().dump());
    state_.tokenizer = data_.tokenizer.hash();
    state_.surroundings = surroundings_;
    // Two to go back to: the parameters of the newest one have not been tried yet.
    Retention retention{.newest = config_.keep_checkpoints,
                        .best = state_.best.step,
                        .anchors = config_.guard.max_rollbacks > 0 ? 2 : 0};
    auto write = [this, before, state = state_, retention, moments = std::move(moments)] {
      Stopwatch watch;
      saying_which_checkpoint(state.step, before, [&] { checkpoints_.save(state, optimizer_, retention, moments); });
      return watch.seconds();
    };
    saving_ = std::async(std::launch::async, std::move(write));
  }

  // Behind it the checkpoint is on the disk; throws what kept it from that.
  void finish_saving() {
    if (!saving_.valid()) return;
    overlap_.checkpoint_seconds += saving_.get();
    ++overlap_.checkpoints;
  }

  // What a job keeps steps from going on counts as waiting; returns its seconds.
  template <class Job>
  double wait_for_checkpoint(const Job& job) {
    Stopwatch watch;
    job();
    const double passed = watch.seconds();
    overlap_.checkpoint_wait_seconds += passed;
    return passed;
  }

  // So far.
  OverlapResult overlap() const {
    OverlapResult o = overlap_;
    o.steps = exchanged_.steps;
    o.step_seconds += exchanged_.step_seconds;
    o.data_seconds = feed_.make_seconds();
    o.data_wait_seconds = feed_.wait_seconds();
    return o;
  }

  // A small source with a large weight may have been read more often than one thinks.
  void say_epochs() const {
    const RowStream& rows = feed_.rows();
    if (rows.parts() < 2) return;
    for (size_t i = 0; i < rows.parts(); ++i) {
      say(fmt::format("{}: read {:.2f} times", data_.tokens.sources()[i].name, rows.epochs(i)));
    }
  }

  void finish() {
    if (!validated_now()) validate();
    save();
    finish_saving();
    if (!ranks_.leads()) return;
    say_epochs();
    if (config_.exported == ExportedModel::best && state_.best.step >= 0 && state_.best.step != state_.step) {
      load_best();
    }
    save_model(folder_.model(), *model_, data_.tokenizer.file_bytes(), data_.tokenizer.file_name());
  }

  void load_best() {
    if (!checkpoints_.whole(state_.best.step)) {
      throw JobError({.what = "the checkpoint of the best validation is not there, or damaged",
                      .where = checkpoints_.path(state_.best.step).string(),
                      .hint = "export=last takes the parameters of the last step"});
    }
    checkpoints_.load_parameters(state_.best.step, model_->parameters());
    say(fmt::format("model/ has the parameters of step {}, the best validation", state_.best.step));
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
    if (!parallel_) return;
    result.communication = {.ranks = ranks_.size(),
                            .zero = parallel_->zero(),
                            .bytes_per_step = static_cast<double>(all_bytes_sent_) /
                                              static_cast<double>(std::max<int64_t>(1, exchanged_.steps)),
                            .wait_seconds = exchanged_.wait_seconds,
                            .step_seconds = exchanged_.step_seconds};
  }

  void set_finished(const TrainResult& result) const {
    if (!ranks_.leads()) return;
    OrderedJson json = to_json(result);
    json["seconds"] = result.seconds;
    json["max_seconds"] = config_.max_seconds;
    folder_.set_finished(json);
  }

  const RunConfig& config_;
  const RunData& data_;
  const TrainHooks& hooks_;
  const RunFolder& folder_;
  RunRanks& ranks_;
  int64_t total_;
  Precision precision_;
  std::unique_ptr<Model> model_;
  Tape tape_;
  DataParallel* parallel_;  // null: alone
  Optimizer optimizer_;
  TrainingStep step_;
  BatchFeed feed_;
  HeldOut heldout_;
  CheckpointStore checkpoints_;
  Surroundings surroundings_;
  std::optional<ChosenProducts> chosen_;
  std::optional<RunRecorder> recorder_;

  RunState state_;
  std::span<const Batch> batches_;  // of the last step
  StepResult last_;
  Judgement judgement_;
  RunRanks::Decision decision_;
  Exchanged exchanged_;
  OverlapResult overlap_;       // what checkpoints took
  int64_t all_bytes_sent_ = 0;  // of all ranks
  double learning_rate_ = 0;
  bool ended_ = false;
  int64_t saved_ = -1;        // step of the last checkpoint of this course of the run
  int64_t first_step_ = 0;    // where this start began
  int64_t window_start_ = 0;  // step of the last line of the log
  double seconds_before_ = 0;
  double step_seconds_ = 0;
  double average_step_ = 0;
  Stopwatch watch_;
  Stopwatch window_watch_;
  std::future<double> saving_;  // the last member: gone before what it reads
};

}  // namespace

int64_t predicted_step_bytes(const RunConfig& config, const ParameterStore& parameters, int ranks) {
  int64_t decisions = config.max_seconds > 0 ? 2 : 1;
  return step_bytes(parameters, ranks, config.zero) + decisions * all_reduce_bytes(RunRanks::kDecisionDoubles, ranks);
}

namespace {

// What cannot begin (bad data, too little memory) must not leave a folder behind that refuses the corrected config.
template <class Job>
auto or_abandon(RunFolder& folder, const Job& job) {
  try {
    return job();
  } catch (const std::exception&) {
    folder.abandon();
    throw;
  }
}

TrainResult train_in(RunFolder& folder, RunRanks& ranks, Context& ctx, const RunConfig& config, const RunData& data,
                     const TrainHooks& hooks) {
  int64_t total = total_steps(config, data.tokens.training().tokens());
  std::optional<TrainResult> before;
  if (ranks.leads()) before = finished_before(config, folder, total);
  if (ranks.led(int64_t{before.has_value()})) return before.value_or(TrainResult{});
  auto trainer =
      or_abandon(folder, [&] { return std::make_unique<Trainer>(ctx, config, data, hooks, folder, ranks, total); });
  return trainer->run();
}

// Rank 0 first, for it makes the folder and what is kept there; the others then find all of it.
template <class Job>
void in_turn(const RunRanks& ranks, const Job& job) {
  if (ranks.leads()) job();
  ranks.wait_for_all();
  if (!ranks.leads()) job();
}

}  // namespace

TrainResult train(Context& ctx, const RunConfig& config, const RunData& data, const TrainHooks& hooks) {
  check(config, config.output);
  total_steps(config, 0);
  RunRanks ranks(hooks.ranks, config);
  RunFolder folder(config, ranks.leads());
  return train_in(folder, ranks, ctx, config, data, hooks);
}

TrainResult train(Context& ctx, const RunConfig& config, const TrainHooks& hooks) {
  check(config, config.output);
  total_steps(config, 0);  // a length that is wrong is said before the folder is made
  RunRanks ranks(hooks.ranks, config);
  RunFolder folder(config, ranks.leads());
  std::optional<RunData> data;
  in_turn(ranks, [&] {
    data = or_abandon(folder, [&] {
      DiskPlan disk{.other_bytes = static_cast<uint64_t>(least_output_bytes(config))};
      return prepare_run_data(config.data, ctx.pool(), folder.path(), disk);
    });
  });
  return train_in(folder, ranks, ctx, config, *data, hooks);
}

}  // namespace tandem
