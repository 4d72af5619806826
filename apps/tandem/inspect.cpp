// inspect: what a model costs, and what this machine computes it with.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/json.h"
#include "kernels/gemm.h"
#include "kernels/matrix_library.h"
#include "kernels/peak.h"
#include "model_options.h"
#include "output.h"
#include "train/init.h"
#include "train/run_config.h"
#include "verbs.h"

namespace tandem::app {
namespace {

struct Options {
  std::string subject;
  std::vector<std::string> overrides;
  int threads = 0;
  std::string precision;
  bool rates = false;
  bool json = false;
};

struct Subject {
  ModelConfig model;
  Precision precision;
};

// A folder is a model; anything else is a run config.
Subject read_subject(const Options& options, Isa isa) {
  if (std::filesystem::is_directory(options.subject)) {
    if (!options.overrides.empty()) {
      throw InputError({.what = "a model's config can't be overridden",
                        .where = options.subject,
                        .got = "'" + options.overrides.front() + "'",
                        .hint = "inspect a run config (.toml) to try other sizes"});
    }
    return {read_model_config(options.subject),
            chosen_precision(options.precision.empty() ? "auto" : options.precision, isa)};
  }
  RunConfig run = load_run_config(options.subject, options.overrides);
  return {resolve_model(run),
          options.precision.empty() ? choose_precision(run.precision, isa) : chosen_precision(options.precision, isa)};
}

// oneDNN's choice for the product of a layer's MLP over a row of tokens.
std::string matrix_kernel(Context& ctx, const ModelConfig& config, const Precision& precision) {
  Product product{.m = config.max_seq_len, .n = config.mlp_size(), .k = config.dim};
  product.a_row_stride = config.dim;
  product.b_row_stride = 1;  // the weight is stored [out, in]
  product.b_column_stride = config.dim;
  product.c_row_stride = config.mlp_size();
  product.operands = product.result = precision.activation;
  return ctx.gemm().implementation(product);
}

OrderedJson kernels_json(Context& ctx, const Subject& subject, bool rates) {
  OrderedJson json{{"isa", isa_name(ctx.isa())},
                   {"isa_of_machine", isa_name(detect_isa())},
                   {"matrix_library", kernels::matrix_library()},
                   {"matrix_kernel", matrix_kernel(ctx, subject.model, subject.precision)},
                   {"threads", ctx.pool().threads()}};
  if (!rates) return json;
  kernels::Peak peak = kernels::measure_peak(ctx);
  json["rates"] = {{"float32_flops", peak.f32_flops},
                   {"bf16_flops", peak.bf16_flops},
                   {"read_bytes_per_second", peak.read_bytes_per_second}};
  return json;
}

OrderedJson inspect(const Options& options) {
  Context ctx(options.threads);
  Subject subject = read_subject(options, ctx.isa());
  std::unique_ptr<Model> model =
      make_model(subject.model, subject.precision, ParameterStore::Gradients::none, options.subject);
  Costs costs = model->costs();
  return {{"arch", arch_name(subject.model.arch)},
          {"parameters", model->parameters().elements()},
          {"non_embedding_parameters", model->non_embedding_parameters()},
          {"flops_per_training_token", costs.flops_per_training_token},
          {"flops_per_generated_token", costs.flops_per_generated_token},
          {"flops_per_prompt_token", costs.flops_per_prompt_token},
          {"cache_bytes_per_token", costs.cache_bytes_per_token},
          {"cache_bytes_with_encoder", costs.cache_bytes_with_encoder},
          {"cache_bytes_at_rest", costs.cache_bytes_at_rest},
          {"cache_bytes_constant", costs.cache_bytes_constant},
          {"context", subject.model.max_seq_len},
          {"precision", dtype_name(subject.precision.activation)},
          {"kernels", kernels_json(ctx, subject, options.rates)}};
}

std::string report(const OrderedJson& json) {
  std::string text;
  auto line = [&](const char* label, const std::string& value) { text += fmt::format("{:<30}{}\n", label, value); };
  auto count = [&](const char* label, const char* key) { line(label, fmt::format("{:.0f}", json[key].get<double>())); };
  line("architecture", json["arch"].get<std::string>());
  count("parameters", "parameters");
  count("  without embedding", "non_embedding_parameters");
  count("context, tokens", "context");
  line("precision", json["precision"].get<std::string>());
  line("MFLOP per training token", fmt::format("{:.3f}", json["flops_per_training_token"].get<double>() / 1e6));
  line("MFLOP per generated token", fmt::format("{:.3f}", json["flops_per_generated_token"].get<double>() / 1e6));
  line("MFLOP per prompt token", fmt::format("{:.3f}", json["flops_per_prompt_token"].get<double>() / 1e6));
  count("cache bytes per prompt token", "cache_bytes_per_token");
  count("  extendable (encoder too)", "cache_bytes_with_encoder");
  count("  at rest", "cache_bytes_at_rest");
  count("  per sequence besides", "cache_bytes_constant");
  const OrderedJson& kernels = json["kernels"];
  line("instruction set", fmt::format("{} (machine: {})", kernels["isa"].get<std::string>(),
                                      kernels["isa_of_machine"].get<std::string>()));
  line("matrix products", fmt::format("{}, {}", kernels["matrix_library"].get<std::string>(),
                                      kernels["matrix_kernel"].get<std::string>()));
  line("threads", fmt::format("{}", kernels["threads"].get<int>()));
  if (kernels.contains("rates")) {
    const OrderedJson& rates = kernels["rates"];
    line("peak float32, GFLOP/s", fmt::format("{:.0f}", rates["float32_flops"].get<double>() / 1e9));
    line("peak bf16, GFLOP/s", fmt::format("{:.0f}", rates["bf16_flops"].get<double>() / 1e9));
    line("memory read, GB/s", fmt::format("{:.1f}", rates["read_bytes_per_second"].get<double>() / 1e9));
  }
  return text;
}

int run(const Options& options) {
  OrderedJson json = inspect(options);
  if (options.json) {
    write_json(json);
  } else {
    write_output(report(json));
  }
  return 0;
}

}  // namespace

void add_inspect_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("inspect", "Parameters, FLOPs and cache bytes per token, kernels chosen here");
  verb->add_option("MODEL|CONFIG", options->subject, "Model folder, or run config (TOML)")->required();
  verb->add_option("KEY=VALUE", options->overrides, "Settings that override the run config's");
  verb->add_option("--threads", options->threads, "Threads; 0: all cores")->check(CLI::Range(0, 1024));
  verb->add_option("--precision", options->precision, "auto, float32 or bf16; left out: the run config's")
      ->check(CLI::IsMember({"auto", "float32", "bf16"}));
  verb->add_flag("--rates", options->rates, "Measure what the machine can do at most (a second)");
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
