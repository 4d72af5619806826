// inspect: what a model costs, and what this machine computes it with.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/json.h"
#include "kernels/matrix_library.h"
#include "kernels/peak.h"
#include "model_options.h"
#include "output.h"
#include "train/estimate.h"
#include "train/init.h"
#include "train/measure_products.h"
#include "train/memory.h"
#include "train/row_share.h"
#include "train/run_config.h"
#include "train/scaling.h"
#include "train/sharding.h"
#include "train/trainer.h"
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
  ScalingMachine machine{.ranks = 0, .flops = 400e12, .bandwidth = 50e9, .latency = 5e-6};
};

struct Subject {
  ModelConfig model;
  Precision precision;
  std::optional<RunConfig> run;
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
            chosen_precision(options.precision.empty() ? "auto" : options.precision, isa), std::nullopt};
  }
  RunConfig run = load_run_config(options.subject, options.overrides);
  return {resolve_model(run),
          options.precision.empty() ? choose_precision(run.precision, isa) : chosen_precision(options.precision, isa),
          run};
}

// As layers multiply: by a weight as it lies, by the same for the gradient of what came in, and two activations.
const char* kind_of(const Product& p) {
  if (p.a_column_stride != 1) return "weight's gradient";
  return p.b_row_stride == 1 ? "forward" : "input's gradient";
}

// The products of a pass over one micro-batch, or, of a model without a run, over a row that is only read.
std::vector<PassProduct> products_of(Context& ctx, const Subject& subject, Model& model) {
  Rng rng(0, 0);
  const bool trains = subject.run.has_value();
  const Objective objective = trains ? objective_of(*subject.run) : plain_objective(subject.model.arch);
  Batch rows = random_rows(subject.model, objective, trains ? subject.run->micro_batch : 1, rng);
  return products_of_pass(ctx, model, trains ? subject.run->recompute : Recompute::none, rows,
                          trains ? Tape::Mode::record : Tape::Mode::no_grad);
}

// With `measure`, both sides are timed and the faster one is named, as a run with products=measured does.
OrderedJson products_json(Context& ctx, const std::vector<PassProduct>& products, bool measure) {
  ProductChoices choices;
  if (measure) measure_missing(ctx, products, choices);
  ChosenProducts chosen(ctx.gemm(), choices, "");
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& form = products[i].form;
    OrderedJson json{{"m", form.m},
                     {"n", form.n},
                     {"k", form.k},
                     {"kind", kind_of(form)},
                     {"per_pass", products[i].times},
                     {"by", ctx.gemm().implementation(form)}};
    if (measure) {
      json["tandem_seconds"] = choices.list[i].times.own;
      json["onednn_seconds"] = choices.list[i].times.onednn;
    }
    list.push_back(std::move(json));
  }
  return list;
}

// A head that multiplies by itself leaves no product with its weight.
bool head_is_one_op(const Subject& subject, const std::vector<PassProduct>& products) {
  return std::none_of(products.begin(), products.end(), [&](const PassProduct& p) {
    return p.form.n == subject.model.vocab_size && p.form.b_row_stride == 1;
  });
}

OrderedJson kernels_json(Context& ctx, const Subject& subject, Model& model, bool rates) {
  const bool measure = subject.run && subject.run->products == ProductsBy::measurement;
  std::vector<PassProduct> products = products_of(ctx, subject, model);
  OrderedJson json{{"isa", isa_name(ctx.isa())},
                   {"isa_of_machine", isa_name(detect_isa())},
                   {"matrix_library", kernels::matrix_library()},
                   {"products", products_json(ctx, products, measure)},
                   {"head", head_is_one_op(subject, products) ? "linear_cross_entropy" : "products"},
                   {"threads", ctx.pool().threads()}};
  if (!rates) return json;
  kernels::Peak peak = kernels::measure_peak(ctx);
  json["rates"] = {{"float32_flops", peak.f32_flops},
                   {"bf16_flops", peak.bf16_flops},
                   {"read_bytes_per_second", peak.read_bytes_per_second}};
  return json;
}

// What a step of the run costs on several ranks.
OrderedJson scaling_json(const Options& options, const Subject& subject, const Model& model) {
  if (options.machine.ranks == 0) return nullptr;
  if (!subject.run) {
    throw InputError({.what = "--ranks is about a step of a run", .where = options.subject, .got = "a model folder"});
  }
  const RunConfig& run = *subject.run;
  int ranks = options.machine.ranks;
  RowShare share = share_of_rows(run.micro_batch, run.grad_accum, 0, ranks);
  const ParameterStore& parameters = model.parameters();
  Sharding sharding(parameters, ranks, default_bucket_elements(parameters.elements(), ranks));
  ScalingJob job{.parameters = static_cast<double>(parameters.elements()),
                 .flops_per_token = model.costs().flops_per_training_token,
                 .tokens_per_step = static_cast<double>(run.tokens_per_step()),
                 .passes = static_cast<double>(share.passes),
                 .buckets = static_cast<double>(sharding.buckets().size()),
                 .zero = run.zero};
  OrderedJson json{{"ranks", ranks},
                   {"zero", run.zero},
                   {"bytes_per_step", predicted_step_bytes(run, parameters, ranks)},
                   {"tokens_per_step", run.tokens_per_step()},
                   {"buckets", sharding.buckets().size()},
                   {"rank_flops", options.machine.flops},
                   {"bandwidth", options.machine.bandwidth},
                   {"latency", options.machine.latency}};
  json.update(to_json(predict(job, options.machine)));
  return json;
}

// What a step of the run holds at most, by one process.
OrderedJson memory_json(Context& ctx, const Subject& subject, Model& model) {
  if (!subject.run) return nullptr;
  RunConfig run = *subject.run;
  run.model = subject.model;
  Rng rng(0, 0);
  MemoryEstimate memory = model_memory({.ctx = ctx, .config = run, .model = model, .rows = [&](int64_t rows) {
                                          return random_rows(subject.model, objective_of(run), rows, rng);
                                        }});
  memory.program = program_bytes(0);
  OrderedJson json = to_json(memory);
  json.erase("mapped_files");
  return json;
}

OrderedJson inspect(const Options& options) {
  Context ctx(options.threads);
  Subject subject = read_subject(options, ctx.isa());
  auto gradients = subject.run ? ParameterStore::Gradients::wanted : ParameterStore::Gradients::none;
  std::unique_ptr<Model> model = make_model(subject.model, subject.precision, gradients, options.subject);
  OrderedJson memory = memory_json(ctx, subject, *model);
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
          {"training_memory", memory},
          {"kernels", kernels_json(ctx, subject, *model, options.rates)},
          {"scaling", scaling_json(options, subject, *model)}};
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
  if (const OrderedJson& m = json["training_memory"]; !m.is_null()) {
    auto bytes = [&](const char* key) { return bytes_text(m[key].get<int64_t>()); };
    line("memory of training", bytes("total"));
    line("", fmt::format("parameters {}, gradients {}, moments {}", bytes("parameters"), bytes("gradients"),
                         bytes("moments")));
    line("", fmt::format("activations {}, program {}", bytes("activations"), bytes("program")));
  }
  const OrderedJson& kernels = json["kernels"];
  line("instruction set", fmt::format("{} (machine: {})", kernels["isa"].get<std::string>(),
                                      kernels["isa_of_machine"].get<std::string>()));
  line("matrix library", kernels["matrix_library"].get<std::string>());
  for (const OrderedJson& p : kernels["products"]) {
    auto number = [&](const char* key) { return p[key].get<int64_t>(); };
    std::string value = fmt::format("{}, {} per pass: {}", p["kind"].get<std::string>(), number("per_pass"),
                                    p["by"].get<std::string>());
    if (p.contains("tandem_seconds")) {
      value += fmt::format(" (tandem {:.3f} ms, oneDNN {:.3f} ms)", 1e3 * p["tandem_seconds"].get<double>(),
                           1e3 * p["onednn_seconds"].get<double>());
    }
    line(fmt::format("product {} x {} x {}", number("m"), number("n"), number("k")).c_str(), value);
  }
  if (kernels["head"] == "linear_cross_entropy") line("head, loss and gradients", "one op, linear_cross_entropy");
  line("threads", fmt::format("{}", kernels["threads"].get<int>()));
  if (kernels.contains("rates")) {
    const OrderedJson& rates = kernels["rates"];
    line("peak float32, GFLOP/s", fmt::format("{:.0f}", rates["float32_flops"].get<double>() / 1e9));
    line("peak bf16, GFLOP/s", fmt::format("{:.0f}", rates["bf16_flops"].get<double>() / 1e9));
    line("memory read, GB/s", fmt::format("{:.1f}", rates["read_bytes_per_second"].get<double>() / 1e9));
  }
  if (const OrderedJson& s = json["scaling"]; !s.is_null()) {
    line("ranks", fmt::format("{}{}", s["ranks"].get<int>(), s["zero"].get<bool>() ? ", moments shared out" : ""));
    line("MB sent per step, all ranks", fmt::format("{:.3f}", s["bytes_per_step"].get<double>() / 1e6));
    line("seconds per step",
         fmt::format("{:.4g}: {:.4g} of computing, {:.4g} of waiting", s["step_seconds"].get<double>(),
                     s["compute_seconds"].get<double>(), s["exposed_seconds"].get<double>()));
    line("tokens per second", fmt::format("{:.4g}", s["tokens_per_second"].get<double>()));
    line("efficiency", fmt::format("{:.1f} %", 100 * s["efficiency"].get<double>()));
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
  verb->add_option("--ranks", options->machine.ranks, "Predict a step of the run on so many ranks (docs/scaling.md)")
      ->check(CLI::Range(1, 1 << 20));
  verb->add_option("--rank-flops", options->machine.flops, "With --ranks: FLOP/s that one reaches in training")
      ->check(CLI::Range(1.0, 1e21))
      ->capture_default_str();
  verb->add_option("--bandwidth", options->machine.bandwidth, "With --ranks: bytes/s that one sends and receives")
      ->check(CLI::Range(1.0, 1e18))
      ->capture_default_str();
  verb->add_option("--latency", options->machine.latency, "With --ranks: seconds of a message")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
