// quantize: a model folder with smaller weights.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "arch/model_folder.h"
#include "arch/stop_ids.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "model_options.h"
#include "output.h"
#include "verbs.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  ModelOptions model;
  std::string output;
  bool json = false;
};

void check_output(const fs::path& folder) {
  if (!fs::exists(folder) || (fs::is_directory(folder) && fs::is_empty(folder))) return;
  throw InputError({.what = "the folder for the new model is not empty",
                    .where = "OUTPUT",
                    .got = folder.string(),
                    .expected = "a name that is not taken, or an empty folder"});
}

int run(const Options& options) {
  check_output(options.output);
  Context ctx(options.model.threads);
  ModelOptions loading = options.model;
  loading.generates = true;  // packs
  LoadedModel loaded = load(loading, ctx);
  save_packed_model(options.output, *loaded.model, loaded.tokenizer.file_bytes(), loaded.tokenizer.file_name());
  write_stop_ids(options.output, loaded.ends);
  auto size = [](const fs::path& folder) { return static_cast<int64_t>(fs::file_size(folder / "model.safetensors")); };
  int64_t before = size(options.model.model), after = size(options.output);
  std::string format(weight_format_name(loaded.model->parameters().all().front().packed().format()));
  if (options.json) {
    write_json({{"model", options.output}, {"weights", format}, {"bytes_before", before}, {"bytes", after}});
    return 0;
  }
  constexpr double kMiB = 1 << 20;
  write_output(fmt::format("{}: {} weights, {:.1f} MiB instead of {:.1f}\n", options.output, format,
                           static_cast<double>(after) / kMiB, static_cast<double>(before) / kMiB));
  return 0;
}

}  // namespace

void add_quantize_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("quantize", "Write a model folder whose weights are bf16, int8 or int4");
  verb->add_option("MODEL", options->model.model, "Model folder")->required();
  verb->add_option("OUTPUT", options->output, "Folder of the new model")->required();
  verb->add_option("--to", options->model.quantize, "bf16, int8 (a scale per output) or int4 (a scale per 32 inputs)")
      ->check(CLI::IsMember({"bf16", "int8", "int4"}))
      ->required();
  verb->add_option("--threads", options->model.threads, "Threads; 0: all cores")->check(CLI::Range(0, 1024));
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
