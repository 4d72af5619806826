// bench prefill, bench decode: speed and memory of reading prompts and of writing tokens.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "base/json.h"
#include "base/statistics.h"
#include "bench.h"
#include "bench_models.h"
#include "eval/sequence_load.h"
#include "kernels/peak.h"
#include "model_options.h"
#include "output.h"

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

std::unique_ptr<Model> make(const Options& options, Context& ctx) {
  BenchSubject subject = read_bench_subject(options.run.model, options.overrides, options.context, true);
  return make_bench_model(subject, chosen_precision(options.run.precision, ctx.isa()), options.run.quantize, ctx);
}

// What both verbs report.
OrderedJson common(const Options& options, const Model& model, const StateBytes& cache, Context& ctx) {
  return {{"model", options.run.model},
          {"arch", arch_name(model.config().arch)},
          {"precision", dtype_name(model.parameters().precision().activation)},
          {"weights", weight_format_name(model.parameters().all().front().packed().format())},
          {"parameters", model.parameters().elements()},
          {"threads", ctx.pool().threads()},
          {"context", options.context},
          {"batch", options.batch},
          {"cache_bytes_live", cache.live},
          {"cache_bytes_with_encoder", cache.with_encoder},
          {"cache_bytes_at_rest", cache.at_rest}};
}

void add_rates(OrderedJson& json, double tokens, const std::vector<double>& seconds, double bytes, double read_peak) {
  double usual = median(seconds), best = *std::min_element(seconds.begin(), seconds.end());
  json["tokens_per_second"] = tokens / usual;
  json["tokens_per_second_best"] = tokens / best;
  json["ms_per_token"] = 1e3 * usual / tokens;
  json["bytes_read_per_token"] = bytes / tokens;
  json["read_gb_per_second"] = bytes / usual / 1e9;
  json["peak_read_gb_per_second"] = read_peak / 1e9;
  json["share_of_peak_read"] = bytes / usual / read_peak;
}

std::string summary(const OrderedJson& j) {
  auto text = [&](const char* name) { return j[name].get<std::string>(); };
  auto number = [&](const char* name) { return j[name].get<double>(); };
  constexpr double kMiB = 1 << 20;
  return fmt::format(
      "{} {} ({} weights), context {}, batch {}: {:.1f} tokens/s (best {:.1f}), {:.3f} ms per token\n"
      "  must read {:.2f} MB per token: {:.1f} GB/s, {:.0f} % of {:.1f} that the machine reads\n"
      "  cache of a sequence: {:.2f} MiB, with the encoder's state {:.2f}, at rest {:.2f}\n",
      text("arch"), text("precision"), text("weights"), j["context"].get<int64_t>(), j["batch"].get<int64_t>(),
      number("tokens_per_second"), number("tokens_per_second_best"), number("ms_per_token"),
      number("bytes_read_per_token") / 1e6, number("read_gb_per_second"), 100 * number("share_of_peak_read"),
      number("peak_read_gb_per_second"), number("cache_bytes_live") / kMiB, number("cache_bytes_with_encoder") / kMiB,
      number("cache_bytes_at_rest") / kMiB);
}

int print(const Options& options, const OrderedJson& json) {
  if (options.json) {
    write_json(json);
  } else {
    write_output(summary(json));
  }
  return 0;
}

// Shared machines change their speed within seconds: the peak is taken between the steps, again and again.
class ReadPeak {
 public:
  void look(Context& ctx) {
    if (best_ > 0 && watch_.seconds() < kSecondsBetween) return;
    best_ = std::max(best_, kernels::measure_peak(ctx).read_bytes_per_second);
    watch_.restart();
  }
  double best() const { return best_; }

 private:
  static constexpr double kSecondsBetween = 2;
  double best_ = 0;
  Stopwatch watch_;
};

int bench_decode(const Options& options) {
  Context ctx(options.run.threads);
  std::unique_ptr<Model> model = make(options, ctx);
  Tape tape(ctx, model->parameters().precision(), Tape::Mode::no_grad);
  StateBytes cache = *measure_cache(tape, *model, options.context, options.chunk);
  SequenceLoad load(tape, *model, options.context, options.batch);
  load.resize(options.batch, options.chunk);
  load.write();
  std::vector<double> seconds;
  ReadPeak peak;
  for (Stopwatch watch; seconds.size() < 3 || watch.seconds() < options.seconds;) {
    peak.look(ctx);
    seconds.push_back(load.write());
  }
  ctx.profiler().enable(true);
  load.write();
  double moved = 0;
  for (const ProfileEntry& op : ctx.profiler().entries()) moved += op.bytes;
  OrderedJson json = common(options, *model, cache, ctx);
  json["steps"] = seconds.size();
  add_rates(json, static_cast<double>(options.batch), seconds, load.bytes_read_per_step(), peak.best());
  json["bytes_moved_per_step"] = moved;
  return print(options, json);
}

int bench_prefill(const Options& options) {
  Context ctx(options.run.threads);
  std::unique_ptr<Model> model = make(options, ctx);
  Tape tape(ctx, model->parameters().precision(), Tape::Mode::no_grad);
  StateBytes cache = *measure_cache(tape, *model, options.context, options.chunk);
  SequenceLoad load(tape, *model, options.context, options.batch);
  load.read(options.batch, options.chunk);
  std::vector<double> seconds;
  ReadPeak peak;
  for (Stopwatch watch; seconds.size() < 3 || watch.seconds() < options.seconds;) {
    peak.look(ctx);
    seconds.push_back(*load.read(options.batch, options.chunk));
  }
  int64_t chunk = model->reads_in_pieces() ? options.chunk : options.context;
  double bytes = 0;
  for (int64_t first = 0; first < options.context; first += chunk) {
    bytes += weight_bytes_per_pass(*model, PassKind::read, std::min(chunk, options.context - first));
  }
  OrderedJson json = common(options, *model, cache, ctx);
  json["runs"] = seconds.size();
  auto batch = static_cast<double>(options.batch), context = static_cast<double>(options.context);
  add_rates(json, batch * context, seconds, batch * bytes, peak.best());
  return print(options, json);
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
