// convert: a model from one project's files to another's.
#include "convert/convert.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/progress_bar.h"
#include "eval/golden_case.h"
#include "output.h"
#include "train/init.h"
#include "verbs.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string source, destination;
  std::string from = "auto", to;
  std::string config, tokenizer, type = "f32";
  int64_t max_length = 0;
  int64_t shard_mib = 0;  // 0: as transformers
  bool overwrite = false;
  bool json = false;
};

// A run's TOML or a model folder's config.json.
ModelConfig read_config(const std::string& name) {
  if (!name.ends_with(".json")) return resolve_model(load_run_config(name, {}));
  ModelConfig config;
  FieldList fields;
  list_fields(fields, config);
  fields.apply(read_json(name), name);
  config.validate(name);
  return config;
}

ConvertOptions resolve(const Options& options) {
  ConvertOptions out{.source = options.source, .destination = options.destination};
  out.from = format_of(options.from);
  out.to = format_of(options.to);
  out.type = *weight_type_of(options.type);
  out.tokenizer = options.tokenizer;
  out.max_length = options.max_length;
  out.overwrite = options.overwrite;
  if (options.shard_mib > 0) out.shard_bytes = options.shard_mib << 20;
  if (!options.config.empty()) out.config = read_config(options.config);
  out.read_config = [](const fs::path& file) { return read_golden_case(file.parent_path()).config; };
  return out;
}

void print(const Options& options, const ConvertSummary& s) {
  constexpr double kMiB = 1 << 20;
  write_output(fmt::format("{}: {}, {} parameters, {:.1f} MiB as {}{}\n", options.destination, arch_name(s.config.arch),
                           s.parameters, static_cast<double>(s.bytes) / kMiB, format_name(s.to),
                           s.tokenizer.empty() ? ", no tokenizer" : ""));
  for (const std::string& note : s.notes) write_output("note: " + note + "\n");
}

int run(const Options& options) {
  // What is over at once needs no bar, and what is refused has one line.
  constexpr double kPatience = 1;
  ProgressBar bar;
  Stopwatch watch;
  ConvertSummary s = convert(resolve(options), [&](double fraction, std::string_view name) {
    double seconds = watch.seconds();
    if (seconds < kPatience || fraction <= 0) return;
    bar.show(fraction, fmt::format("{:.0f} %  {} left  {}", 100 * fraction,
                                   clock_text(seconds * (1 - fraction) / fraction), name));
  });
  bar.clear();
  if (!options.json) {
    print(options, s);
    return 0;
  }
  write_json({{"destination", options.destination},
              {"from", format_name(s.from)},
              {"to", format_name(s.to)},
              {"arch", arch_name(s.config.arch)},
              {"parameters", s.parameters},
              {"bytes", s.bytes},
              {"type", options.type},
              {"tokenizer", s.tokenizer.empty() ? OrderedJson(nullptr) : OrderedJson(s.tokenizer)},
              {"notes", s.notes}});
  return 0;
}

}  // namespace

void add_convert_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("convert", "A model from one project's files to another's: docs/convert.md");
  verb->add_option("SOURCE", options->source,
                   "Model folder, Hugging Face folder, GGUF file, or a checkpoint of the papers' authors")
      ->required();
  verb->add_option("DESTINATION", options->destination, "Folder or file to write")->required();
  const std::vector<std::string> formats{"tandem", "authors", "huggingface", "gguf"};
  std::vector<std::string> sources = formats;
  sources.insert(sources.begin(), "auto");
  verb->add_option("--to", options->to, "Default: by DESTINATION's ending; a folder: tandem")
      ->check(CLI::IsMember(formats));
  verb->add_option("--from", options->from, "Default auto: by what is there")->check(CLI::IsMember(sources));
  verb->add_option("--config", options->config,
                   "The model's sizes for a checkpoint that does not say them: a run's TOML or a model's config.json");
  verb->add_option("--tokenizer", options->tokenizer,
                   "tokenizer.json or .model to take along instead of the source's; none: none");
  verb->add_option("--type", options->type, "Type of the matrices that are written; q8_0 and q4_0: GGUF alone")
      ->check(CLI::IsMember({"f32", "bf16", "f16", "q8_0", "q4_0"}));
  verb->add_option("--max-length", options->max_length, "Longest sequence of the new model, at most the source's")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  verb->add_option("--shard-mib", options->shard_mib,
                   "Tensors in one file of a Hugging Face folder, at most; default: 5 GB, as transformers")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->type_name("MIB");
  verb->add_flag("--overwrite", options->overwrite, "Replace a model folder or a file at DESTINATION");
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
