// study folding: what a double decoder loses when its blocks are shorter or longer than in training.
#include <algorithm>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "eval/perplexity.h"
#include "heldout_text.h"
#include "output.h"
#include "study.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> models;
  TextOptions text;
  ModelOptions run;
  std::vector<int64_t> intervals;
  std::string output = "study-folding";
  bool json = false;
};

// Models under one label: the same but for the seed.
struct Group {
  std::string label;
  std::vector<std::string> models;
  std::vector<std::vector<double>> losses;  // by model, by interval; nats per token
  std::vector<double> as_trained;           // by model, blocks drawn as in training
  bool has_blocks = false;

  double mean(size_t interval) const {
    double sum = 0;
    for (const auto& each : losses) sum += each[interval];
    return sum / static_cast<double>(losses.size());
  }
};

std::vector<Group> read_groups(const std::vector<std::string>& arguments) {
  std::vector<Group> groups;
  for (const std::string& argument : arguments) {
    size_t sign = argument.find('=');
    std::string label = sign == std::string::npos ? argument : argument.substr(0, sign);
    std::string model = sign == std::string::npos ? argument : argument.substr(sign + 1);
    auto found = std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.label == label; });
    if (found == groups.end()) found = groups.insert(groups.end(), {.label = label});
    found->models.push_back(model);
  }
  return groups;
}

double loss(Context& ctx, const Options& options, const std::string& folder, const std::string& boundaries) {
  ModelOptions run = options.run;
  run.model = folder;
  run.boundaries = boundaries;
  LoadedModel loaded = load(run, ctx);
  HeldOut rows = pack_text(loaded, options.text);
  Tape tape(ctx, loaded.model->parameters().precision(), Tape::Mode::no_grad);
  return evaluate(*loaded.model, tape, rows, {.objective = Objective::text}).loss();
}

// Rows of the first model: the longest block.
std::vector<int64_t> intervals_of(const Options& options, Context& ctx) {
  std::vector<int64_t> intervals = options.intervals;
  ModelOptions run = options.run;
  run.model = read_groups(options.models).front().models.front();
  int64_t longest = load(run, ctx).model->config().max_seq_len;
  for (int64_t r = 1; options.intervals.empty() && r <= longest; r *= 2) intervals.push_back(r);
  return intervals;
}

void measure(Context& ctx, const Options& options, const std::vector<int64_t>& intervals, Group& group) {
  for (const std::string& folder : group.models) {
    ModelOptions run = options.run;
    run.model = folder;
    group.has_blocks = load(run, ctx).model->config().arch == Arch::double_decoder;
    group.as_trained.push_back(loss(ctx, options, folder, ""));
    std::vector<double>& losses = group.losses.emplace_back(intervals.size(), group.as_trained.back());
    for (size_t i = 0; group.has_blocks && i < intervals.size(); ++i) {
      losses[i] = loss(ctx, options, folder, fmt::format("fixed:{}", intervals[i]));
      log::info("{}: {:.4f} nats per token in blocks of {}", folder, losses[i], intervals[i]);
    }
  }
}

LineChart draw(const std::vector<Group>& groups, const std::vector<int64_t>& intervals) {
  LineChart chart{.title = "Held-out loss by the length of blocks",
                  .x_label = "tokens of a block",
                  .y_label = "nats per token",
                  .x_scale = Scale::logarithmic};
  for (size_t g = 0; g < groups.size(); ++g) {
    Series series{.label = groups[g].label,
                  .colour = static_cast<int>(g),
                  .style = groups[g].has_blocks ? LineStyle::markers : LineStyle::line};
    for (size_t i = 0; i < intervals.size(); ++i) {
      series.x.push_back(static_cast<double>(intervals[i]));
      series.y.push_back(groups[g].mean(i));
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

OrderedJson to_json(const std::vector<Group>& groups, const std::vector<int64_t>& intervals, const Options& options) {
  OrderedJson json{{"output", options.output}, {"intervals", intervals}};
  for (const Group& group : groups) {
    json["groups"].push_back({{"label", group.label},
                              {"models", group.models},
                              {"has_blocks", group.has_blocks},
                              {"as_trained", group.as_trained},
                              {"losses", group.losses}});
  }
  return json;
}

std::string table(const std::vector<Group>& groups, const std::vector<int64_t>& intervals) {
  std::string text = fmt::format("{:<28}{:>10}", "", "as trained");
  for (int64_t r : intervals) text += fmt::format("{:>9}", r);
  text += "\n";
  for (const Group& group : groups) {
    double own = 0;
    for (double each : group.as_trained) own += each / static_cast<double>(group.as_trained.size());
    text += fmt::format("{:<28}{:>10.4f}", group.label, own);
    for (size_t i = 0; group.has_blocks && i < intervals.size(); ++i) text += fmt::format("{:>9.4f}", group.mean(i));
    text += "\n";
  }
  return text;
}

int run(const Options& options) {
  if (options.text.data.empty()) {
    throw InputError({.what = "nothing to evaluate on", .where = "tandem study folding", .expected = "--data PATH"});
  }
  Context ctx(options.run.threads);
  std::vector<int64_t> intervals = intervals_of(options, ctx);
  std::vector<Group> groups = read_groups(options.models);
  for (Group& group : groups) measure(ctx, options, intervals, group);
  fs::path folder = options.output;
  fs::create_directories(folder);
  OrderedJson json = to_json(groups, intervals, options);
  write_file_atomically(folder / "folding.json", json.dump(2) + "\n");
  write_chart(folder, "folding", draw(groups, intervals));
  if (options.json) {
    write_json(json);
  } else {
    write_output(table(groups, intervals) + fmt::format("\n{}\n", (folder / "folding.svg").string()));
  }
  return 0;
}

}  // namespace

void add_study_folding(CLI::App& study, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = study.add_subcommand("folding", "Held-out loss by the length of a double decoder's blocks");
  verb->add_option("models", options->models, "FOLDER or LABEL=FOLDER; models of one label are averaged")
      ->required()
      ->expected(1, -1);
  add_text_options(*verb, options->text);
  add_run_options(*verb, options->run);
  verb->add_option("--intervals", options->intervals, "Lengths of blocks; default: 1, 2, 4, ... the model's rows")
      ->expected(1, -1)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  verb->add_option("--output", options->output, "Folder of the table and the picture")->capture_default_str();
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
