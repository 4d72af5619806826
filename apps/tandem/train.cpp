// tandem train: a run from its config to its model folder.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "interrupt.h"
#include "kernels/context.h"
#include "output.h"
#include "ranks.h"
#include "train/estimate.h"
#include "train/init.h"
#include "train/progress.h"
#include "train/run_config.h"
#include "train/run_plan.h"
#include "train/trainer.h"
#include "validation.h"
#include "verbs.h"

namespace tandem::app {
namespace {

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  bool json = false;
  bool fields = false;
  bool dry_run = false;
};

void print_overlap(const OverlapResult& o) {
  if (o.steps == 0) return;
  auto share = [&](double seconds) { return 100 * seconds / std::max(o.step_seconds, 1e-9); };
  std::string checkpoints;
  if (o.checkpoints > 0) {
    checkpoints = fmt::format(", {:.2f} % for {} checkpoints that took {:.1f} s to write",
                              share(o.checkpoint_wait_seconds), o.checkpoints, o.checkpoint_seconds);
  }
  write_output(fmt::format("of {:.1f} s of steps, {:.2f} % were waiting for data that took {:.1f} s to make{}\n",
                           o.step_seconds, share(o.data_wait_seconds), o.data_seconds, checkpoints));
}

void print_result(const TrainResult& r) {
  std::string score;
  if (r.heldout) {
    score = fmt::format(", held-out loss {:.4f} ({:.4f} bits per byte, accuracy {:.1f} %)", r.heldout->loss,
                        r.heldout->bits_per_byte, 100 * r.heldout->accuracy);
  }
  write_output(fmt::format("{} steps, {} tokens{}; model in {}\n", r.steps, r.tokens, score, r.model.string()));
  if (r.overlap) print_overlap(*r.overlap);
  if (!r.communication) return;
  const CommunicationResult& c = *r.communication;
  write_output(fmt::format("{} ranks sent {} per step; rank 0 waited {:.1f} % of its steps\n", c.ranks,
                           bytes_text(static_cast<int64_t>(c.bytes_per_step)),
                           100 * c.wait_seconds / std::max(c.step_seconds, 1e-9)));
}

// As a POSIX shell reads it back: a command that the program prints can be pasted.
std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%^";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

int report(const TrainResult& result, const Options& options, const RunConfig& config) {
  if (result.end == TrainResult::End::stopped) {
    std::string command = result.communication ? fmt::format("mpirun -n {} ", result.communication->ranks) : "";
    command += "tandem train " + shell_word(options.config);
    for (const std::string& assignment : options.overrides) command += " " + shell_word(assignment);
    fmt::print(stderr, "stopped at step {}; go on with: {}\n", result.steps, command);
    return kInterruptedExit;
  }
  if (result.end == TrainResult::End::was_finished) {
    fmt::print(stderr, "the run in {} is finished: {} steps are done\n", config.output, result.steps);
  }
  if (options.json) {
    write_json(to_json(result));
  } else {
    print_result(result);
  }
  return 0;
}

int print_plan(const Options& options, const RunConfig& config) {
  Context ctx(static_cast<int>(config.threads));
  TrainHooks hooks;
  hooks.validate = validate;
  RunPlan plan = plan_run(ctx, config, hooks);
  if (options.json) {
    write_json(to_json(plan));
  } else {
    write_output(report(plan));
  }
  return 0;
}

int train_on(Communicator& ranks, const Options& options) {
  // mpirun makes SIGTERM of Ctrl-C and sends it again, so that there a second signal says nothing new.
  InterruptScope interrupts(
      ranks.rank() == 0 ? "finishing the step and saving; a second signal ends the program at once, and the steps "
                          "since the last checkpoint are done again\n"
                        : nullptr,
      ranks.size() == 1 ? InterruptScope::Again::ends : InterruptScope::Again::noted);
  RunConfig config = load_run_config(options.config, options.overrides);
  if (options.dry_run) return ranks.rank() == 0 ? print_plan(options, config) : 0;
  Context ctx(threads_for(ranks, static_cast<int>(config.threads)));
  ProgressDisplay display;
  TrainHooks hooks;
  hooks.validate = validate;
  DownstreamEvaluation downstream(config.evaluation);
  if (!downstream.empty()) hooks.evaluate = std::cref(downstream);
  hooks.progress = [&](const TrainProgress& progress) { display.show(progress); };
  hooks.notice = [&](const std::string& line) { display.say(line); };
  hooks.should_stop = interrupted;
  hooks.ranks = &ranks;
  TrainResult result = train(ctx, config, hooks);
  if (ranks.rank() == 0) return report(result, options, config);
  return result.end == TrainResult::End::stopped ? kInterruptedExit : 0;
}

int run(const Options& options) {
  return on_ranks([&](Communicator& ranks) { return train_on(ranks, options); });
}

int print_fields() {
  RunConfig config;
  FieldList fields;
  list_fields(fields, config);
  write_output(fields.help());
  return 0;
}

}  // namespace

void add_train_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("train", "Train a model; started again, go on where it stopped");
  verb->add_option("config", options->config, "a .toml file, or the name of one under configs/ (tiny, paper/dd_0.6m)");
  verb->add_option("overrides", options->overrides, "key=value; output=DIR names the run folder");
  verb->add_flag("--json", options->json, "Print the result as one JSON object");
  verb->add_flag(
      "--dry-run", options->dry_run,
      "Print the config, parameters, FLOPs, memory, disk and time of the run, and end without leaving files");
  verb->add_flag("--fields", options->fields, "List the keys of a config and end");
  verb->callback([options, &action] {
    if (options->config.empty() && !options->fields) throw CLI::RequiredError("config");
    action = [options] { return options->fields ? print_fields() : run(*options); };
  });
}

}  // namespace tandem::app
