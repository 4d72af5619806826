// eval: how well a model predicts a text.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <optional>

#include "base/cancelled.h"
#include "base/error.h"
#include "base/json.h"
#include "eval/perplexity.h"
#include "eval/recall.h"
#include "eval_answers.h"
#include "eval_report.h"
#include "eval_tasks.h"
#include "heldout_text.h"
#include "interrupt.h"
#include "model_options.h"
#include "output.h"
#include "verbs.h"

namespace tandem::app {
namespace {

struct Options {
  ModelOptions model;
  TextOptions text;
  std::optional<Objective> objective;
  double prefix_share = 0;
  int64_t recall = 0;
  AnswerOptions answers;
  TaskOptions tasks;
  bool json = false;
};

const std::map<std::string, Objective> kObjectives{
    {"text", Objective::text}, {"prefix_lm", Objective::prefix_lm}, {"span_corruption", Objective::span_corruption}};

// Questions about stories that no model was trained on: of their own split, and always the same ones.
constexpr uint64_t kQuestionSeed = 1;

OrderedJson text_scores(const EvalResult& r, const HeldOut& rows) {
  return {{"rows", rows.rows()},     {"tokens", r.tokens},           {"bytes", r.text_bytes},
          {"loss", r.loss()},        {"perplexity", r.perplexity()}, {"bits_per_byte", r.bits_per_byte()},
          {"accuracy", r.accuracy()}};
}

OrderedJson recall_scores(const RecallResult& r) {
  OrderedJson scores{
      {"questions", r.questions}, {"skipped", r.skipped}, {"accuracy", nullptr}, {"greedy_accuracy", nullptr}};
  if (r.questions > 0) {
    scores["accuracy"] = r.accuracy();
    scores["greedy_accuracy"] = r.greedy_accuracy();
  }
  return scores;
}

std::string text_report(const OrderedJson& json) {
  std::string report = fmt::format("{}\n", json["model"].get<std::string>());
  if (json.contains("tokens")) {
    report += fmt::format("tokens         {} in {} rows\n", json["tokens"].get<int64_t>(), json["rows"].get<int64_t>());
    report += fmt::format("loss           {:.4f} nats per token\n", json["loss"].get<double>());
    report += fmt::format("perplexity     {:.3f}\n", json["perplexity"].get<double>());
    report += fmt::format("bits per byte  {:.4f}\n", json["bits_per_byte"].get<double>());
    report += fmt::format("accuracy       {:.2f} %\n", 100 * json["accuracy"].get<double>());
  }
  if (json.contains("answers")) report += answer_report(json["answers"]);
  if (json.contains("recall")) {
    const OrderedJson& recall = json["recall"];
    if (recall["accuracy"].is_null()) {
      report += "recall         no question fits into the model's rows\n";
    } else {
      report += fmt::format("recall         {:.1f} % of {} questions; {:.1f} % without choices\n",
                            100 * recall["accuracy"].get<double>(), recall["questions"].get<int64_t>(),
                            100 * recall["greedy_accuracy"].get<double>());
    }
  }
  if (json.contains("tasks")) report += task_report(json["tasks"]);
  if (json.contains("choice")) report += choice_report(json["choice"]);
  return report;
}

int run(const Options& options) {
  TaskRun tasks(options.tasks);
  if (options.text.data.empty() && options.recall == 0 && options.answers.files.empty() && tasks.empty()) {
    throw InputError({.what = "nothing to evaluate on",
                      .where = "tandem eval",
                      .expected = "--data PATH, --tasks NAME, --choice FILE, --answers FILE or --recall N"});
  }
  if (options.prefix_share > 0 && options.objective != Objective::prefix_lm) {
    throw InputError({.what = "--prefix-share without --objective prefix_lm", .where = "tandem eval"});
  }
  Context ctx(options.model.threads);
  LoadedModel loaded = load(options.model, ctx);
  Tape tape(ctx, loaded.model->parameters().precision(), Tape::Mode::no_grad);
  OrderedJson json{{"model", options.model.model},
                   {"arch", arch_name(loaded.model->config().arch)},
                   {"precision", dtype_name(loaded.model->parameters().precision().activation)}};
  if (!options.text.data.empty()) {
    HeldOut rows = pack_text(loaded, options.text);
    EvalTask task{.objective = options.objective, .prefix_share = options.prefix_share};
    json["objective"] = objective_name(task.objective.value_or(default_objective(loaded.model->config().arch)));
    if (task.prefix_share > 0) json["prefix_share"] = task.prefix_share;
    if (loaded.model->config().arch == Arch::double_decoder) {
      json["boundaries"] = loaded.model->config().boundaries.text();
    }
    json.update(text_scores(evaluate(*loaded.model, tape, rows, task), rows));
  }
  if (options.recall > 0) {
    std::vector<RecallQuestion> questions = recall_questions(kQuestionSeed, options.recall);
    json["recall"] =
        recall_scores(evaluate_recall(*loaded.model, tape, loaded.tokenizer, loaded.document_tokens.bos, questions));
  }
  if (!options.answers.files.empty()) {
    json["answers"] = score_answers(ctx, loaded, options.answers, options.text.heldout_only);
  }
  if (!tasks.empty()) {
    // Now that the text is scored as in training: laid out so that no score depends on what is scored beside it.
    pack_weights(options.model, ctx, *loaded.model);
    try {
      tasks.run(ctx, loaded, json);
    } catch (const Cancelled&) {
      return kInterruptedExit;
    }
  }
  if (options.json) {
    write_json(json);
  } else {
    write_output(text_report(json));
  }
  return 0;
}

}  // namespace

void add_eval_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("eval", "Loss and accuracy on a text, benchmarks, recall, written answers");
  add_model_options(*verb, options->model);
  add_text_options(*verb, options->text);
  verb->add_option("--objective", options->objective,
                   "What is read and what is scored: every token (text), what follows a first part (prefix_lm), "
                   "stretches left out (span_corruption); default: what the architecture learns from text")
      ->transform(CLI::CheckedTransformer(kObjectives));
  verb->add_option("--prefix-share", options->prefix_share,
                   "With prefix_lm: the share of each row that is read; 0: a drawn length, as in training")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb->add_option("--boundaries", options->model.boundaries,
                   "Where a double decoder's blocks open, " + BoundaryStrategy::forms() + "; default: as in training");
  verb->add_option("--recall", options->recall, "Ask so many questions about made-up stories")
      ->check(CLI::Range(int64_t{0}, int64_t{100000}))
      ->capture_default_str();
  add_answer_options(*verb, options->answers);
  add_task_options(*verb, options->tasks);
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
