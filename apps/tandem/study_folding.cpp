// study folding: what a double decoder loses when its blocks are shorter or longer than in training, and what it costs.
#include "study_folding.h"

#include <algorithm>
#include <memory>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "heldout_text.h"
#include "output.h"
#include "pictures.h"
#include "study.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> models;
  TextOptions text;
  ModelOptions run;
  std::vector<int64_t> intervals;
  int64_t beyond = 0;
  FoldingCostOptions cost;
  std::string output = "study-folding";
  bool by_position = false;
  bool json = false;
};

std::vector<FoldingGroup> read_groups(const std::vector<std::string>& arguments) {
  std::vector<FoldingGroup> groups;
  for (const std::string& argument : arguments) {
    Labelled model = split_label(argument);
    auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.label == model.label; });
    if (found == groups.end()) found = groups.insert(groups.end(), {.label = model.label});
    found->models.push_back(model.path);
    ModelConfig config = read_model_config(model.path);
    int64_t length = config.max_seq_len;
    if (found->trained_length != 0 && found->trained_length != length) {
      throw InputError({.what = "models of one label with rows of different lengths",
                        .where = argument,
                        .got = fmt::format("{}", length),
                        .expected = fmt::format("{}", found->trained_length)});
    }
    found->trained_length = length;
    found->has_blocks = config.arch == Arch::double_decoder;
    found->scores.emplace_back();
  }
  return groups;
}

LoadedModel load_with_rows(const Options& options, Context& ctx, const std::string& folder, int64_t rows) {
  ModelOptions run = options.run;
  run.model = folder;
  run.max_seq_len = rows;
  return load(run, ctx);
}

// A half, a quarter and an eighth of the trained length, and the rest of it.
std::vector<int64_t> ends_within(int64_t trained) {
  std::vector<int64_t> ends;
  for (int64_t parts : {8, 4, 2, 1}) {
    if (trained / parts > (ends.empty() ? 0 : ends.back())) ends.push_back(trained / parts);
  }
  return ends;
}

// And behind it: finely at first, then from doubling to doubling.
std::vector<int64_t> ends_beyond(int64_t trained, int64_t length) {
  std::vector<int64_t> ends = ends_within(trained);
  for (int64_t end : {trained + trained / 8, trained + trained / 4, trained + trained / 2}) {
    if (end > ends.back() && end < length) ends.push_back(end);
  }
  for (int64_t end = 2 * trained; end < length; end *= 2) ends.push_back(end);
  ends.push_back(length);
  return ends;
}

void score(Context& ctx, const Options& options, const FoldingStudy& study, FoldingGroup& group) {
  for (size_t i = 0; i < group.models.size(); ++i) {
    const std::string& folder = group.models[i];
    FoldingScores& scores = group.scores[i];
    LoadedModel loaded = load_with_rows(options, ctx, folder, group.trained_length);
    HeldOut rows = pack_text(loaded, options.text);
    Tape tape(ctx, loaded.model->parameters().precision(), Tape::Mode::no_grad);
    EvalTask task{.objective = Objective::text, .position_ends = ends_within(group.trained_length)};
    scores.as_trained = evaluate(*loaded.model, tape, rows, task);
    log::info("{}: {:.4f} nats per token in blocks as in training", folder, scores.as_trained.loss());
    for (int64_t interval : study.intervals) {
      if (!group.has_blocks) break;
      task.block_tokens = interval;
      scores.by_block.push_back(evaluate(*loaded.model, tape, rows, task));
      log::info("{}: {:.4f} in blocks of {}", folder, scores.by_block.back().loss(), interval);
    }
  }
}

void score_beyond(Context& ctx, const Options& options, const FoldingStudy& study, FoldingGroup& group) {
  for (size_t i = 0; i < group.models.size(); ++i) {
    LoadedModel loaded = load_with_rows(options, ctx, group.models[i], study.beyond_length);
    HeldOut rows = pack_documents(loaded, options.text, study.beyond_length);
    Tape tape(ctx, loaded.model->parameters().precision(), Tape::Mode::no_grad);
    EvalTask task{.objective = Objective::text,
                  .position_ends = ends_beyond(group.trained_length, study.beyond_length)};
    for (int64_t interval : study.beyond_intervals) {
      task.block_tokens = interval;
      std::vector<EvalResult>& results = group.scores[i].beyond;
      results.push_back(evaluate(*loaded.model, tape, rows, task));
      log::info("{}: {:.4f} over {} tokens in blocks of {}", group.models[i], results.back().loss(),
                study.beyond_length, interval);
      if (!group.has_blocks) break;
    }
  }
}

FoldingStudy measure(Context& ctx, const Options& options) {
  FoldingStudy study{.intervals = options.intervals, .groups = read_groups(options.models)};
  int64_t longest = study.groups.front().trained_length;
  for (int64_t r = 1; options.intervals.empty() && r <= longest; r *= 2) study.intervals.push_back(r);
  for (const FoldingGroup& group : study.groups) {
    if (options.beyond == 0 || options.beyond > group.trained_length) continue;
    throw InputError({.what = "nothing lies beyond the rows of training",
                      .where = "--beyond",
                      .got = fmt::format("{}", options.beyond),
                      .expected = fmt::format("more than {}, the rows of {}", group.trained_length, group.label)});
  }
  study.beyond_length = options.beyond;
  study.beyond_intervals = study.intervals;
  study.beyond_intervals.push_back(options.beyond);
  for (FoldingGroup& group : study.groups) {
    // First what may be refused.
    if (study.beyond_length > 0) score_beyond(ctx, options, study, group);
    score(ctx, options, study, group);
  }
  return study;
}

void check(const Options& options) {
  if (options.models.empty() && options.cost.subjects.empty()) {
    throw InputError(
        {.what = "nothing to study", .where = "tandem study folding", .expected = "model folders or --cost SUBJECT"});
  }
  if (!options.models.empty() && options.text.data.empty()) {
    throw InputError({.what = "nothing to evaluate on", .where = "tandem study folding", .expected = "--data PATH"});
  }
}

int run(const Options& options) {
  check(options);
  Context ctx(options.run.threads);
  fs::path folder = options.output;
  create_folder(folder);
  OrderedJson json{{"output", options.output}};
  std::string text;
  auto picture = [&](const char* name, const LineChart& chart) {
    write_chart(folder, name, chart);
    text += fmt::format("{}\n\n", (folder / name).string() + ".svg");
  };
  if (!options.models.empty()) {
    FoldingStudy study = measure(ctx, options);
    json.update(losses_json(study));
    text += losses_table(study);
    picture("folding", losses_chart(study));
    if (options.by_position) text += positions_table(study) + "\n";
    if (study.beyond_length > 0) {
      text += beyond_table(study);
      picture("folding_beyond", beyond_chart(study));
    }
  }
  if (!options.cost.subjects.empty()) {
    FoldingCostOptions cost = options.cost;
    cost.run = options.run;
    cost.intervals = options.intervals;
    std::vector<FoldingCostSubject> costs = measure_folding_costs(ctx, cost);
    json["cost"] = costs_json(costs);
    text += costs_table(costs);
    picture("folding_cost", costs_chart(costs));
  }
  write_file_atomically(folder / "folding.json", json.dump(2) + "\n");
  if (options.json) {
    write_json(json);
  } else {
    write_output(text);
  }
  return 0;
}

}  // namespace

Labelled split_label(const std::string& argument) {
  size_t sign = argument.find('=');
  if (sign == std::string::npos) return {argument, argument};
  return {argument.substr(0, sign), argument.substr(sign + 1)};
}

void add_study_folding(CLI::App& study, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb =
      study.add_subcommand("folding", "Held-out loss by the length of a double decoder's blocks; what folding costs");
  verb->add_option("models", options->models, "FOLDER or LABEL=FOLDER; models of one label are averaged")
      ->expected(0, -1);
  add_text_options(*verb, options->text);
  add_run_options(*verb, options->run);
  verb->add_option("--intervals", options->intervals,
                   "Lengths of blocks; default: 1, 2, 4, ... the model's rows; of --cost: 1, 4, 16, ... the context")
      ->expected(1, -1)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  verb->add_flag("--by-position", options->by_position, "Also print the losses by position in the row");
  verb->add_option("--beyond", options->beyond,
                   "Also read every document in sequences of so many tokens, more than the rows of training")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20));
  verb->add_option("--cost", options->cost.subjects,
                   "Also measure what folding costs: model folders or run configs (random weights), LABEL=... too")
      ->expected(1, -1);
  verb->add_option("--context", options->cost.context,
                   "Of --cost: position of the middle of a block; default: the rows")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  verb->add_option("--rounds", options->cost.rounds, "Of --cost: measure so often, everything in turn")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  verb->add_option("--output", options->output, "Folder of the table and the pictures")->capture_default_str();
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
