// bench prefill, bench decode: speed and memory of reading prompts and of writing tokens.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/json.h"
#include "bench.h"
#include "kernels/peak.h"
#include "model_options.h"
#include "output.h"
#include "statistics.h"
#include "train/init.h"

namespace tandem::app {
namespace {

struct Options {
  ModelOptions run;  // run.model: a model folder or a run config
  std::vector<std::string> overrides;
  int64_t context = 512;
  int64_t batch = 1;
  int64_t chunk = 512;
  double seconds = 3;
  bool json = false;
};

// Sequences of random tokens in caches that hold no more than writing needs.
struct Load {
  std::unique_ptr<Model> model;
  std::unique_ptr<Caches> caches;
  std::vector<std::unique_ptr<State>> states;
  std::vector<int32_t> ids;
};

std::unique_ptr<Model> make(const Options& options, Context& ctx) {
  Precision precision = chosen_precision(options.run.precision, ctx.isa());
  std::unique_ptr<Model> model;
  if (std::filesystem::is_regular_file(std::filesystem::path(options.run.model) / "config.json")) {
    model = load_model(options.run.model, precision, ParameterStore::Gradients::none);
  } else {
    RunConfig run = load_run_config(options.run.model, options.overrides);
    ModelConfig config = resolve_model(run);
    // Room for what is measured, whatever the rows of training are.
    config.max_seq_len = std::max(config.max_seq_len, options.context + 1);
    model = make_model(config, precision, ParameterStore::Gradients::none, options.run.model);
    model->parameters().initialise(static_cast<uint64_t>(run.seed));
  }
  if (options.context >= model->config().max_seq_len) {
    throw InputError({.what = "context longer than the model's rows",
                      .where = "--context",
                      .got = fmt::format("{}", options.context),
                      .expected = fmt::format("at most {}", model->config().max_seq_len - 1)});
  }
  model->parameters().pack(ctx, weight_format(options.run.quantize, precision));
  return model;
}

Load make_load(const Options& options, Context& ctx) {
  Load load;
  load.model = make(options, ctx);
  load.caches = load.model->new_caches({.encoder = EncoderState::recompute});
  Rng rng(1, 0);
  auto vocabulary = static_cast<uint32_t>(load.model->config().vocab_size);
  for (int64_t i = 0; i < options.context; ++i) load.ids.push_back(static_cast<int32_t>(rng.below(vocabulary)));
  return load;
}

// Reads the context into `batch` fresh states; seconds.
double read_all(const Options& options, Tape& tape, Load& load) {
  load.states.clear();
  for (int64_t i = 0; i < options.batch; ++i) load.states.push_back(load.model->new_state(*load.caches));
  auto total = static_cast<int64_t>(load.ids.size());
  int64_t chunk = load.model->reads_in_pieces() ? options.chunk : total;
  Stopwatch watch;
  for (auto& state : load.states) {
    for (int64_t first = 0; first < total; first += chunk) {
      Piece piece{state.get(), std::span(load.ids).subspan(static_cast<size_t>(first),
                                                           static_cast<size_t>(std::min(chunk, total - first)))};
      tape.reset();
      load.model->read(tape, {&piece, 1});
    }
    state->settle();
  }
  return watch.seconds();
}

// One token more for every sequence, taken back afterwards: every step has the same context.
double write_all(Tape& tape, Load& load, const Tensor& logits) {
  std::vector<Piece> pieces;
  for (auto& state : load.states) pieces.push_back({state.get(), std::span(load.ids).first(1)});
  Stopwatch watch;
  tape.reset();
  load.model->write(tape, pieces, logits);
  double seconds = watch.seconds();
  for (auto& state : load.states) state->unwrite(1);
  return seconds;
}

OrderedJson common(const Options& options, const Load& load) {
  const Model& model = *load.model;
  StateBytes pages = load.states.front()->page_bytes();
  return {{"model", options.run.model},
          {"arch", arch_name(model.config().arch)},
          {"precision", dtype_name(model.parameters().precision().activation)},
          {"weights", weight_format_name(model.parameters().all().front().packed().format())},
          {"parameters", model.parameters().elements()},
          {"context", options.context},
          {"batch", options.batch},
          {"cache_bytes_live", pages.live}};
}

int bench_decode(const Options& options) {
  Context ctx(options.run.threads);
  Load load = make_load(options, ctx);
  Tape tape(ctx, load.model->parameters().precision(), Tape::Mode::no_grad);
  read_all(options, tape, load);
  OrderedJson json = common(options, load);
  Storage logits(DType::f32, {options.batch, load.model->config().vocab_size});
  write_all(tape, load, logits.tensor());
  std::vector<double> seconds;
  double read_peak = 0;
  for (Stopwatch watch; seconds.size() < 3 || watch.seconds() < options.seconds;) {
    // The peak is taken between the steps: shared machines change their speed within seconds.
    if (seconds.size() % 200 == 0) read_peak = std::max(read_peak, kernels::measure_peak(ctx).read_bytes_per_second);
    seconds.push_back(write_all(tape, load, logits.tensor()));
  }
  ctx.profiler().enable(true);
  write_all(tape, load, logits.tensor());
  double bytes = 0;
  for (const ProfileEntry& op : ctx.profiler().entries()) bytes += op.bytes;
  double step = median(seconds), best = *std::min_element(seconds.begin(), seconds.end());
  auto batch = static_cast<double>(options.batch);
  json["steps"] = seconds.size();
  json["tokens_per_second"] = batch / step;
  json["tokens_per_second_best"] = batch / best;
  json["ms_per_token"] = 1e3 * step / batch;
  json["bytes_moved_per_step"] = bytes;
  json["gb_per_second"] = bytes / step / 1e9;
  json["peak_read_gb_per_second"] = read_peak / 1e9;
  if (options.json) {
    write_json(json);
    return 0;
  }
  write_output(fmt::format(
      "{} {} ({} weights), context {}, batch {}: {:.1f} tokens/s (best {:.1f}), {:.3f} ms per "
      "token, {:.1f} GB/s of {:.1f}, cache {:.2f} MiB\n",
      json["arch"].get<std::string>(), json["precision"].get<std::string>(), json["weights"].get<std::string>(),
      options.context, options.batch, batch / step, batch / best, 1e3 * step / batch, bytes / step / 1e9,
      read_peak / 1e9, static_cast<double>(json["cache_bytes_live"].get<int64_t>()) / (1 << 20)));
  return 0;
}

int bench_prefill(const Options& options) {
  Context ctx(options.run.threads);
  Load load = make_load(options, ctx);
  Tape tape(ctx, load.model->parameters().precision(), Tape::Mode::no_grad);
  read_all(options, tape, load);
  std::vector<double> seconds;
  for (Stopwatch watch; seconds.size() < 3 || watch.seconds() < options.seconds;) {
    seconds.push_back(read_all(options, tape, load));
  }
  OrderedJson json = common(options, load);
  auto tokens = static_cast<double>(options.context * options.batch);
  double best = *std::min_element(seconds.begin(), seconds.end());
  json["runs"] = seconds.size();
  json["tokens_per_second"] = tokens / median(seconds);
  json["tokens_per_second_best"] = tokens / best;
  if (options.json) {
    write_json(json);
    return 0;
  }
  write_output(fmt::format("{} {} ({} weights), {} prompts of {} tokens: {:.0f} tokens/s (best {:.0f})\n",
                           json["arch"].get<std::string>(), json["precision"].get<std::string>(),
                           json["weights"].get<std::string>(), options.batch, options.context,
                           json["tokens_per_second"].get<double>(), tokens / best));
  return 0;
}

CLI::App* add_verb(CLI::App& bench, const char* name, const char* help, const std::shared_ptr<Options>& options) {
  CLI::App* verb = bench.add_subcommand(name, help);
  verb->add_option("MODEL", options->run.model, "Model folder, or a run config: then the weights are random")
      ->required();
  verb->add_option("KEY=VALUE", options->overrides, "Settings that override the config's");
  add_run_options(*verb, options->run);
  verb->add_option("--context", options->context, "Tokens of the prompt")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  verb->add_option("--batch", options->batch, "Sequences")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  verb->add_option("--chunk", options->chunk, "Prompts are read in pieces of so many tokens")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  verb->add_option("--seconds", options->seconds, "Measure for about this long")->check(CLI::Range(0.0, 3600.0));
  verb->add_flag("--json", options->json, "Print one JSON object");
  return verb;
}

}  // namespace

void add_bench_generation(CLI::App& bench, Action& action) {
  auto decode = std::make_shared<Options>(), prefill = std::make_shared<Options>();
  add_verb(bench, "decode", "one token for each sequence at a given context: tokens/s, bytes moved, cache", decode)
      ->callback([decode, &action] { action = [decode] { return bench_decode(*decode); }; });
  add_verb(bench, "prefill", "reading prompts: tokens/s", prefill)->callback([prefill, &action] {
    action = [prefill] { return bench_prefill(*prefill); };
  });
}

}  // namespace tandem::app
