// tandem data inspect: what a run would feed its model, without training it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "arch/model.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/html.h"
#include "kernels/context.h"
#include "output.h"
#include "row_view.h"
#include "train/init.h"
#include "train/run_config.h"
#include "train/run_data.h"
#include "verbs.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

// Rows that the shares are taken over, at least.
constexpr int64_t kSampleRows = 256;

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  int64_t rows = 2;
  std::string html;
  std::string colour = "auto";
  bool json = false;
};

// For tokens that nobody keeps; removed at the end.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (fs::temp_directory_path() / "tandem-inspect-XXXXXX").string();
    if (!::mkdtemp(name.data())) {
      throw JobError({.what = "cannot create a folder", .where = name, .got = std::generic_category().message(errno)});
    }
    path_ = name;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Sums over the rows that were looked at.
struct Sample {
  int64_t rows = 0;
  int64_t tokens = 0;
  int64_t documents = 0;
  int64_t padding = 0;
  int64_t labelled = 0;  // of what is written, when a batch has two sides
  std::vector<int64_t> block_lengths;

  double share(int64_t part, int64_t whole) const {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
  }
};

struct Inspection {
  std::vector<RowView> rows;
  std::vector<SidesView> sides;  // of the batches of these rows
  Sample sample;
  Objective objective = Objective::text;
};

void count_blocks(Sample& sample, const RowView& row) {
  std::vector<int64_t> starts = row.block_starts();
  if (starts.empty()) return;
  int64_t before = 0;
  auto end = static_cast<int64_t>(row.tokens.size());
  starts.push_back(end);
  for (int64_t start : starts) {
    if (start > before) sample.block_lengths.push_back(start - before);
    before = start;
  }
}

void count(Sample& sample, const Batch& batch, const Tokenizer& tokenizer) {
  for (int64_t r = 0; r < batch.rows; ++r) {
    RowView row = view_row(batch, r, tokenizer);
    sample.documents += row.documents();
    sample.padding += row.padding();
    count_blocks(sample, row);
  }
  sample.rows += batch.rows;
  sample.tokens += batch.tokens();
  std::span<const int32_t> labels = batch.loss_labels();
  sample.labelled += static_cast<int64_t>(labels.size()) - std::count(labels.begin(), labels.end(), kIgnoreLabel);
}

// What is read and written of the first `shown` rows. A batch does not say which rows its blocks come from, but they
// come in their order.
void add_sides(Inspection& result, const Batch& batch, int64_t shown, const Tokenizer& tokenizer) {
  std::vector<SidesView> sides = view_sides(batch, tokenizer);
  auto count = (static_cast<int64_t>(sides.size()) * shown + batch.rows - 1) / batch.rows;
  sides.resize(static_cast<size_t>(count));
  for (SidesView& side : sides) result.sides.push_back(std::move(side));
}

// The rows of the first micro-batches, prepared as in training.
Inspection look(const RunConfig& config, const RunData& data, const Model& model, int64_t rows) {
  Inspection result;
  RowStream stream = data.tokens.rows(config.model.max_seq_len, config.data.seed);
  for (int64_t micro = 0; result.sample.rows < std::max(rows, kSampleRows); ++micro) {
    std::vector<std::string> sources;
    Batch batch = empty_batch(data.tokens.pack_rule(config.model.max_seq_len));
    for (int64_t r = 0; r < config.micro_batch; ++r) {
      append_copy(batch, stream.next_batch(1), 0);
      sources.push_back(stream.parts() > 1 ? data.tokens.sources()[stream.last_part()].name : "");
    }
    batch.objective = objective_of(config);
    Rng rng(static_cast<uint64_t>(config.seed), static_cast<uint64_t>(micro));
    model.prepare(batch, rng);
    result.objective = batch.objective;
    int64_t shown = std::min(batch.rows, rows - static_cast<int64_t>(result.rows.size()));
    for (int64_t r = 0; r < shown; ++r) {
      result.rows.push_back(view_row(batch, r, data.tokenizer));
      result.rows.back().source = sources[static_cast<size_t>(r)];
    }
    if (shown > 0) add_sides(result, batch, shown, data.tokenizer);
    count(result.sample, batch, data.tokenizer);
  }
  return result;
}

// --- figures

OrderedJson lengths_json(std::vector<int64_t> lengths) {
  if (lengths.empty()) return nullptr;
  std::sort(lengths.begin(), lengths.end());
  double sum = 0;
  for (int64_t length : lengths) sum += static_cast<double>(length);
  return {{"count", lengths.size()},
          {"min", lengths.front()},
          {"median", lengths[lengths.size() / 2]},
          {"mean", sum / static_cast<double>(lengths.size())},
          {"max", lengths.back()}};
}

std::vector<int64_t> document_lengths(const ShardSet& shards) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < shards.documents(); ++i) {
    lengths.push_back(static_cast<int64_t>(shards.document(i).size()));
  }
  return lengths;
}

// Tokens that the run reads; nothing when only the clock ends it.
std::optional<double> tokens_of_run(const RunConfig& config, const RunData& data) {
  int64_t steps = total_steps(config, data.tokens.training().tokens());
  if (steps == 0) return std::nullopt;
  return static_cast<double>(steps) * static_cast<double>(config.tokens_per_step());
}

OrderedJson sources_json(const RunConfig& config, const RunData& data, const Sample& sample) {
  OrderedJson list = OrderedJson::array();
  std::optional<double> read = tokens_of_run(config, data);
  double text = 1 - sample.share(sample.padding, sample.tokens);
  for (const SourceTokens& source : data.tokens.sources()) {
    OrderedJson entry{{"name", source.name},
                      {"documents", source.documents},
                      {"tokens", source.tokens},
                      {"share", source.share},
                      {"epochs", nullptr}};
    if (read && source.tokens > 0) entry["epochs"] = *read * text * source.share / static_cast<double>(source.tokens);
    list.push_back(std::move(entry));
  }
  return list;
}

OrderedJson tokens_json(std::span<const TokenView> tokens) {
  OrderedJson json{{"ids", OrderedJson::array()},
                   {"tokens", OrderedJson::array()},
                   {"positions", OrderedJson::array()},
                   {"labels", OrderedJson::array()}};
  for (const TokenView& token : tokens) {
    json["ids"].push_back(token.id);
    json["tokens"].push_back(token.text);
    json["positions"].push_back(token.position);
    json["labels"].push_back(token.label == kIgnoreLabel ? OrderedJson(nullptr) : OrderedJson(token.label));
  }
  return json;
}

OrderedJson row_json(const RowView& row) {
  OrderedJson json{{"source", row.source.empty() ? OrderedJson(nullptr) : OrderedJson(row.source)},
                   {"documents", row.documents()},
                   {"labelled", row.labelled()},
                   {"padding", row.padding()},
                   {"blocks", row.block_starts()}};
  json.update(tokens_json(row.tokens));
  json["segments"] = json["roles"] = OrderedJson::array();
  for (const TokenView& token : row.tokens) {
    json["segments"].push_back(token.segment);
    json["roles"].push_back(role_name(token.role));
  }
  return json;
}

OrderedJson report_json(const RunConfig& config, const RunData& data, const Inspection& seen) {
  const Sample& sample = seen.sample;
  LongCounts longer = count_long(data.tokens.training(), data.tokens.pack_rule(config.model.max_seq_len));
  OrderedJson json{
      {"arch", arch_name(config.model.arch)},
      {"objective", objective_name(seen.objective)},
      {"row_length", config.model.max_seq_len},
      {"vocab_size", data.tokenizer.vocab_size()},
      {"sources", sources_json(config, data, sample)},
      {"heldout", {{"documents", data.tokens.heldout().documents()}, {"tokens", data.tokens.heldout().tokens()}}},
      {"left_out", data.tokens.left_out()},
      {"long_conversations", {{"dropped", longer.dropped}, {"truncated", longer.truncated}}},
      {"document_tokens", lengths_json(document_lengths(data.tokens.training()))},
      {"sample",
       {{"rows", sample.rows},
        {"documents_per_row", sample.share(sample.documents, sample.rows)},
        {"labelled_share", sample.share(sample.labelled, sample.tokens)},
        {"padding_share", sample.share(sample.padding, sample.tokens)},
        {"block_tokens", lengths_json(sample.block_lengths)}}},
      {"rows", OrderedJson::array()},
      {"sides", OrderedJson::array()}};
  for (const RowView& row : seen.rows) json["rows"].push_back(row_json(row));
  for (const SidesView& side : seen.sides) {
    json["sides"].push_back({{"reads", tokens_json(side.reads)}, {"writes", tokens_json(side.writes)}});
  }
  return json;
}

// --- for people

using Table = std::vector<std::vector<std::string>>;

std::string percent(const OrderedJson& share) { return fmt::format("{:.1f} %", 100 * share.get<double>()); }

Table source_table(const OrderedJson& json) {
  Table rows;
  for (const OrderedJson& source : json["sources"]) {
    const OrderedJson& epochs = source["epochs"];
    rows.push_back({source["name"].get<std::string>(), fmt::format("{}", source["documents"].get<int64_t>()),
                    fmt::format("{}", source["tokens"].get<int64_t>()), percent(source["share"]),
                    epochs.is_null() ? "-" : fmt::format("{:.2f}", epochs.get<double>())});
  }
  return rows;
}

std::string lengths_text(const OrderedJson& lengths) {
  if (lengths.is_null()) return "none";
  return fmt::format("{} to {}, median {}, mean {:.1f}", lengths["min"].get<int64_t>(), lengths["max"].get<int64_t>(),
                     lengths["median"].get<int64_t>(), lengths["mean"].get<double>());
}

Table figure_table(const OrderedJson& json) {
  const OrderedJson& sample = json["sample"];
  const OrderedJson& longer = json["long_conversations"];
  Table rows{{"architecture, objective",
              fmt::format("{}, {}", json["arch"].get<std::string>(), json["objective"].get<std::string>())},
             {"tokens of a row", fmt::format("{}", json["row_length"].get<int64_t>())},
             {"held out", fmt::format("{} documents, {} tokens", json["heldout"]["documents"].get<int64_t>(),
                                      json["heldout"]["tokens"].get<int64_t>())},
             {"tokens of a document", lengths_text(json["document_tokens"])},
             {"documents in a row", fmt::format("{:.2f}", sample["documents_per_row"].get<double>())},
             {"labelled tokens", percent(sample["labelled_share"])},
             {"padding", percent(sample["padding_share"])}};
  if (!sample["block_tokens"].is_null()) rows.push_back({"tokens of a block", lengths_text(sample["block_tokens"])});
  auto add_count = [&](const char* name, const OrderedJson& count) {
    if (count.get<int64_t>() > 0) rows.push_back({name, fmt::format("{}", count.get<int64_t>())});
  };
  add_count("too long, left out", longer["dropped"]);
  add_count("too long, cut", longer["truncated"]);
  add_count("held out elsewhere, left out", json["left_out"]);
  return rows;
}

std::string row_title(const OrderedJson& row, size_t number) {
  std::string title = fmt::format("row {}: {} documents, {} labelled", number, row["documents"].get<int64_t>(),
                                  row["labelled"].get<int64_t>());
  if (row["padding"].get<int64_t>() > 0) title += fmt::format(", {} padding", row["padding"].get<int64_t>());
  if (!row["blocks"].empty())
    title += fmt::format(", blocks at {}", fmt::join(row["blocks"].get<std::vector<int64_t>>(), " "));
  if (!row["source"].is_null()) title += ", from " + row["source"].get<std::string>();
  return title;
}

constexpr const char* kReads = "reads";
constexpr const char* kWrites = "writes";

std::string report_text(const OrderedJson& json, const Inspection& seen, bool colour) {
  std::string text = fmt::format("{:>10} {:>12} {:>8} {:>8}  {}\n", "documents", "tokens", "share", "epochs", "source");
  for (const auto& row : source_table(json)) {
    text += fmt::format("{:>10} {:>12} {:>8} {:>8}  {}\n", row[1], row[2], row[3], row[4], row[0]);
  }
  for (const auto& row : figure_table(json)) text += fmt::format("{:<30}{}\n", row[0], row[1]);
  text += fmt::format("(shares and blocks over the first {} rows)\n\n", json["sample"]["rows"].get<int64_t>());
  text += legend(colour);
  for (size_t i = 0; i < seen.rows.size(); ++i) {
    text += fmt::format("\n--- {}\n{}\n", row_title(json["rows"][i], i), to_text(seen.rows[i].tokens, colour));
  }
  for (size_t i = 0; i < seen.sides.size(); ++i) {
    text += fmt::format("\n--- block {} {}\n{}\n", i, kReads, to_text(seen.sides[i].reads, colour));
    text += fmt::format("--- and {}\n{}\n", kWrites, to_text(seen.sides[i].writes, colour));
  }
  return text;
}

std::string report_html(const OrderedJson& json, const Inspection& seen, const Options& options,
                        const Tokenizer& tokenizer) {
  HtmlPage page("Rows of " + options.config);
  page.table({"source", "documents", "tokens", "share", "epochs"}, source_table(json));
  page.heading("Figures");
  page.table({"", ""}, figure_table(json));
  page.paragraph(
      fmt::format("Shares and blocks are taken over the first {} rows.", json["sample"]["rows"].get<int64_t>()));
  page.heading("Rows");
  add_legend(page);
  for (size_t i = 0; i < seen.rows.size(); ++i) {
    page.paragraph(row_title(json["rows"][i], i));
    add_tokens(page, seen.rows[i].tokens, tokenizer);
  }
  if (!seen.sides.empty()) page.heading("What is read, and what is written");
  for (size_t i = 0; i < seen.sides.size(); ++i) {
    page.paragraph(fmt::format("block {} {}", i, kReads));
    add_tokens(page, seen.sides[i].reads, tokenizer);
    page.paragraph(kWrites);
    add_tokens(page, seen.sides[i].writes, tokenizer);
  }
  return page.text();
}

bool wants_colour(const Options& options) {
  if (options.colour != "auto") return options.colour == "always";
  const char* off = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  bool dumb = terminal && std::string_view(terminal) == "dumb";
  return ::isatty(STDOUT_FILENO) == 1 && (!off || *off == '\0') && !dumb;
}

int inspect(const Options& options) {
  RunConfig config = load_run_config(options.config, options.overrides);
  total_steps(config, 0);  // a length that is wrong is said before anything is read
  Context ctx(static_cast<int>(config.threads));
  // A run that has begun keeps its tokens; before that they are not for keeping, unless data.cache names a place.
  ScratchFolder scratch;
  fs::path folder = fs::exists(fs::path(config.output) / "tokenizer.json") ? fs::path(config.output) : scratch.path();
  RunData data = prepare_run_data(config.data, ctx.pool(), folder);
  std::unique_ptr<Model> model =
      make_model(model_config_of(config, data), Precision::float32(), ParameterStore::Gradients::none, options.config);
  Inspection seen = look(config, data, *model, options.rows);
  OrderedJson json = report_json(config, data, seen);
  if (!options.html.empty()) {
    write_file_atomically(options.html, report_html(json, seen, options, data.tokenizer));
  }
  if (options.json) {
    write_json(json);
  } else {
    write_output(report_text(json, seen, wants_colour(options)));
  }
  return 0;
}

}  // namespace

void add_data_verb(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("data", "Look at what a run reads");
  verb->require_subcommand(1);
  auto options = std::make_shared<Options>();
  CLI::App* command = verb->add_subcommand("inspect", "Show packed rows, and what their tokens are for");
  command->add_option("config", options->config, "a .toml file, or the name of one under configs/")->required();
  command->add_option("overrides", options->overrides, "key=value");
  command->add_option("--rows", options->rows, "Rows to show")
      ->check(CLI::Range(int64_t{0}, int64_t{10000}))
      ->capture_default_str();
  command->add_option("--html", options->html, "Write a page with the rows to this file");
  command->add_option("--color", options->colour, "auto: on a terminal, unless NO_COLOR is set")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, &action] { action = [options] { return inspect(*options); }; });
}

}  // namespace tandem::app
