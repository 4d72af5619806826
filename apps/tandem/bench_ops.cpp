// bench ops: every operation of a training step by itself, against the machine's own limits.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>

#include "arch/config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/statistics.h"
#include "bench.h"
#include "formats/chart.h"
#include "kernels/adamw.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gelu.h"
#include "kernels/layernorm.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/matmul.h"
#include "kernels/peak.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/span_attention.h"
#include "nn/layers.h"
#include "output.h"
#include "pictures.h"
#include "train/run_config.h"

namespace tandem::app {
namespace {

struct BenchOpsOptions {
  int64_t dim = 448;
  int64_t head_dim = 64;
  int64_t tokens = 2048;
  int64_t vocab = 32768;
  int threads = 0;
  PrecisionChoice precision = PrecisionChoice::automatic;
  double seconds = 0.2;
  std::string output;
  bool json = false;
};

struct OpTiming {
  std::string name;
  double seconds = 0;
  double flops = 0;
  double bytes = 0;
};

// Operands of one size, filled with small random numbers.
class Operands {
 public:
  explicit Operands(uint64_t seed) : rng_(seed, 0) {}
  Tensor make(DType dtype, const Shape& shape) {
    const Tensor& t = storage_.emplace_back(dtype, shape).tensor();
    for (int64_t i = 0; i < t.elements(); ++i) {
      store_element(t, i / t.row_size(), i % t.row_size(), 0.2 * rng_.uniform() - 0.1);
    }
    return t;
  }
  std::vector<int32_t> ids(int64_t count, int64_t below) {
    std::vector<int32_t> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(static_cast<int32_t>(rng_.below(static_cast<uint32_t>(below))));
    return out;
  }

 private:
  std::deque<Storage> storage_;
  Rng rng_;
};

class OpBench {
 public:
  OpBench(Context& ctx, const BenchOpsOptions& options, DType activation)
      : ctx_(ctx), o_(options), activation_(activation) {}

  std::vector<OpTiming> run() {
    matrix_products();
    attention();
    norms();
    pointwise();
    head();
    optimizer();
    return timings_;
  }

 private:
  // Median of repeated calls. FLOPs and bytes are what the op itself accounts for in the profiler.
  void time(const std::string& name, const std::function<void()>& call) {
    call();
    ctx_.profiler().enable(true);
    ctx_.profiler().clear();
    call();
    OpTiming timing{name, 0, 0, 0};
    for (const ProfileEntry& entry : ctx_.profiler().entries()) {
      timing.flops += entry.flops;
      timing.bytes += entry.bytes;
    }
    ctx_.profiler().enable(false);
    std::vector<double> seconds;
    Stopwatch all;
    while (seconds.size() < 3 || all.seconds() < o_.seconds) {
      Stopwatch one;
      call();
      seconds.push_back(one.seconds());
    }
    timing.seconds = median(seconds);
    timings_.push_back(timing);
  }

  void matrix_products() {
    const int64_t t = o_.tokens, d = o_.dim;
    for (auto [out, in] : {std::pair{3 * d, d}, {d, d}, {4 * d, d}, {d, 4 * d}}) {
      Tensor x = data_.make(activation_, {t, in}), w = data_.make(activation_, {out, in});
      Tensor y = data_.make(activation_, {t, out}), dw = data_.make(DType::f32, {out, in});
      std::string size = fmt::format(" {}x{}x{}", t, out, in);
      time("matmul forward" + size, [&] { kernels::matmul_nt(ctx_, y, x, w); });
      time("matmul dx" + size, [&] { kernels::matmul_nn(ctx_, x, y, w); });
      time("matmul dw" + size, [&] { kernels::matmul_tn(ctx_, dw, y, x, kernels::Store::accumulate); });
    }
  }

  void attention() {
    const int64_t t = o_.tokens, heads = std::max<int64_t>(1, o_.dim / o_.head_dim), size = o_.head_dim;
    auto make = [&] { return data_.make(activation_, {t, heads, size}); };
    Tensor q = make(), o = make(), d_o = make(), dq = make(), dk = make(), dv = make();
    kernels::KeyValueSource source{make(), make()};
    Tensor lse = data_.make(DType::f32, {heads, t});
    SpanPlan plan;
    nn::plan_causal(plan, 1, t);
    kernels::KeyValueGradient gradient{dk, dv, false};
    time("attention forward, causal", [&] {
      kernels::span_attention_forward(ctx_, o, lse, Tensor(), q, {&source, 1}, plan, 0.125);
    });
    time("attention backward, causal", [&] {
      kernels::span_attention_backward(ctx_, dq, {&gradient, 1}, d_o, o, lse, Tensor(), Tensor(), q, {&source, 1}, plan,
                                       0.125);
    });
  }

  void norms() {
    const int64_t t = o_.tokens, d = o_.dim;
    Tensor x = data_.make(DType::f32, {t, d}), y = data_.make(activation_, {t, d}), dx = data_.make(DType::f32, {t, d});
    Tensor w = data_.make(DType::f32, {d}), b = data_.make(DType::f32, {d});
    Tensor dw = data_.make(DType::f32, {d}), db = data_.make(DType::f32, {d});
    Tensor r = data_.make(DType::f32, {t}), mean = data_.make(DType::f32, {t});
    time("rmsnorm forward", [&] { kernels::rmsnorm_forward(ctx_, y, r, x, w, 1e-6); });
    time("rmsnorm backward", [&] { kernels::rmsnorm_backward(ctx_, dx, true, dw, x, x, r, w); });
    time("layernorm forward", [&] { kernels::layernorm_forward(ctx_, y, mean, r, x, w, b, 1e-5); });
    time("layernorm backward", [&] { kernels::layernorm_backward(ctx_, dx, true, dw, db, x, x, mean, r, w); });
  }

  void pointwise() {
    const int64_t t = o_.tokens, d = o_.dim, size = o_.head_dim;
    Tensor x = data_.make(activation_, {t, 4 * d}), y = data_.make(activation_, {t, 4 * d});
    time("gelu forward", [&] { kernels::gelu_forward(ctx_, y, x, kernels::GeluKind::tanh); });
    time("gelu backward", [&] { kernels::gelu_backward(ctx_, y, y, x, kernels::GeluKind::tanh); });
    Tensor a = data_.make(DType::f32, {t, d}), b = data_.make(DType::f32, {t, d});
    time("add", [&] { kernels::add(ctx_, a, a, b); });
    Tensor narrow = data_.make(activation_, {t, d});
    time("convert", [&] { kernels::convert(ctx_, narrow, a); });
    nn::Rotary rotary;
    rotary.build(t, size, 10000, kernels::RopePairs::adjacent, DType::f32);
    std::vector<int32_t> positions = data_.ids(t, t);
    Tensor heads = data_.make(activation_, {t, std::max<int64_t>(1, d / size), size});
    time("rope", [&] {
      kernels::rope_apply(ctx_, heads, positions, rotary.table().cos, rotary.table().sin, rotary.table().pairs, false);
    });
  }

  void head() {
    const int64_t rows = std::min<int64_t>(256, o_.tokens), d = o_.dim, v = o_.vocab;
    Tensor table = data_.make(DType::f32, {v, d}), x = data_.make(DType::f32, {o_.tokens, d});
    std::vector<int32_t> ids = data_.ids(o_.tokens, v);
    time("embedding forward", [&] { kernels::embedding_forward(ctx_, x, table, ids); });
    time("embedding backward", [&] { kernels::embedding_backward(ctx_, table, x, ids); });
    Tensor hidden = data_.make(activation_, {rows, d}), w = data_.make(activation_, {v, d});
    constexpr int64_t kGap = 32;  // between rows, as in ops/head.cpp
    Tensor logits = data_.make(DType::f32, {rows, v + kGap}).slice_columns(0, v);
    Tensor dlogits = data_.make(activation_, {rows, v + kGap}).slice_columns(0, v);
    Tensor loss = data_.make(DType::f32, {rows}), dhidden = data_.make(DType::f32, {rows, d});
    std::vector<int32_t> labels = data_.ids(rows, v);
    std::string size = fmt::format(" {}x{}x{}", rows, v, d);
    time("head logits" + size, [&] { kernels::matmul_nt(ctx_, logits, hidden, w); });
    time("cross-entropy", [&] { kernels::cross_entropy(ctx_, loss, dlogits, {}, logits, labels, 1, 1); });
    time("head dx" + size, [&] { kernels::matmul_nn(ctx_, dhidden, dlogits, w); });
    time("head dw" + size, [&] { kernels::matmul_tn(ctx_, table, dlogits, hidden, kernels::Store::accumulate); });
    fused_head(w, table);
  }

  // Logits, cross-entropy, dx and dw as one op.
  void fused_head(const Tensor& w, const Tensor& dw) {
    const int64_t t = o_.tokens, d = o_.dim;
    kernels::LinearCrossEntropy op{.x = data_.make(activation_, {t, d}), .weight = w, .dweight = dw};
    if (!kernels::has_linear_cross_entropy(ctx_, op.x, w, dw)) return;
    const std::vector<int32_t> labels = data_.ids(t, o_.vocab);
    op.labels = labels;
    op.loss = data_.make(DType::f32, {t});
    op.dx = data_.make(activation_, {t, d});
    time(fmt::format("head fused {}x{}x{}", t, o_.vocab, d), [&] { kernels::linear_cross_entropy(ctx_, op); });
  }

  void optimizer() {
    Shape shape{4 * o_.dim, o_.dim};
    Tensor w = data_.make(DType::f32, shape), g = data_.make(DType::f32, shape);
    Tensor m = data_.make(DType::f32, shape), v = data_.make(DType::f32, shape);
    Tensor compute = activation_ == DType::bf16 ? data_.make(activation_, shape) : Tensor();
    kernels::AdamWStep step;
    step.learning_rate = 1e-9;
    time("adamw", [&] { kernels::adamw(ctx_, w, g, m, v, compute, step); });
    double sum = 0;
    time("sum of squares", [&] { sum += kernels::sum_of_squares(ctx_, g); });
  }

  Context& ctx_;
  const BenchOpsOptions& o_;
  DType activation_;
  Operands data_{1};
  std::vector<OpTiming> timings_;
};

OrderedJson to_json(const std::vector<OpTiming>& timings, const kernels::Peak& peak, DType activation,
                    const BenchOpsOptions& options, const Context& ctx) {
  double peak_flops = activation == DType::bf16 ? peak.bf16_flops : peak.f32_flops;
  OrderedJson ops = OrderedJson::array();
  for (const OpTiming& t : timings) {
    double compute = t.flops / peak_flops, memory = t.bytes / peak.read_bytes_per_second;
    double bound = std::max(compute, memory);
    ops.push_back({{"op", t.name},
                   {"seconds", t.seconds},
                   {"flops_per_second", t.flops / t.seconds},
                   {"bytes_per_second", t.bytes / t.seconds},
                   {"bound", compute >= memory ? "compute" : "memory"},
                   {"share_of_bound", bound / t.seconds}});
  }
  return {{"isa", isa_name(ctx.isa())},
          {"precision", dtype_name(activation)},
          {"tokens", options.tokens},
          {"dim", options.dim},
          {"vocab", options.vocab},
          {"peak_flops", peak_flops},
          {"peak_read_bytes_per_second", peak.read_bytes_per_second},
          {"ops", ops}};
}

// Arithmetic per byte against the rate, with what the machine allows.
LineChart roofline(const OrderedJson& json) {
  struct Group {
    const char* label;
    std::initializer_list<std::string_view> prefixes;
  };
  const Group groups[] = {
      {"matrix products", {"matmul", "head"}}, {"attention", {"attention"}}, {"everything else", {""}}};
  const double peak = json["peak_flops"].get<double>(), read = json["peak_read_bytes_per_second"].get<double>();
  LineChart chart;
  chart.title = fmt::format("Operations of a step, width {}, {}", json["dim"].get<int64_t>(),
                            json["precision"].get<std::string>());
  chart.x_label = "operations per byte";
  chart.y_label = "GFLOP/s";
  chart.x_scale = chart.y_scale = Scale::logarithmic;
  double most = 2 * peak / read, least = most;
  std::vector<Series> series;
  for (size_t g = 0; g < std::size(groups); ++g) {
    series.push_back({.label = groups[g].label, .x = {}, .y = {}, .colour = static_cast<int>(g) + 1});
    series.back().style = LineStyle::markers;
  }
  for (const OrderedJson& op : json["ops"]) {
    const double flops = op["flops_per_second"].get<double>(), bytes = op["bytes_per_second"].get<double>();
    if (flops <= 0 || bytes <= 0) continue;
    const std::string name = op["op"].get<std::string>();
    size_t g = 0;
    auto belongs = [&](std::string_view prefix) { return name.starts_with(prefix); };
    while (std::none_of(groups[g].prefixes.begin(), groups[g].prefixes.end(), belongs)) ++g;
    Series& to = series[g];
    to.x.insert(to.x.end(), {flops / bytes, flops / bytes});
    to.y.insert(to.y.end(), {flops / 1e9, std::numeric_limits<double>::quiet_NaN()});  // a gap: dots without lines
    most = std::max(most, flops / bytes);
    least = std::min(least, flops / bytes);
  }
  Series roof{.label = "the machine's limit", .x = {least, peak / read, most}, .y = {}};
  for (double x : roof.x) roof.y.push_back(std::min(peak, x * read) / 1e9);
  chart.series.push_back(std::move(roof));
  for (Series& s : series) chart.series.push_back(std::move(s));
  return chart;
}

int run_bench_ops(const BenchOpsOptions& options) {
  if (!options.output.empty()) create_folder(options.output);
  Context ctx(options.threads);
  DType activation = choose_precision(options.precision, ctx.isa()).activation;
  // Before and behind the ops: shared machines change their speed within seconds.
  kernels::Peak peak = kernels::measure_peak(ctx);
  const std::vector<OpTiming> timings = OpBench(ctx, options, activation).run();
  const kernels::Peak later = kernels::measure_peak(ctx);
  peak.f32_flops = std::max(peak.f32_flops, later.f32_flops);
  peak.bf16_flops = std::max(peak.bf16_flops, later.bf16_flops);
  peak.read_bytes_per_second = std::max(peak.read_bytes_per_second, later.read_bytes_per_second);
  OrderedJson json = to_json(timings, peak, activation, options, ctx);
  if (!options.output.empty()) write_chart(options.output, "roofline", roofline(json));
  if (options.json) {
    write_json(json);
    return 0;
  }
  std::string text = fmt::format("{} on {}, peak {:.0f} GFLOP/s, {:.1f} GB/s read\n{:<36} {:>10} {:>9} {:>8}  {}\n",
                                 dtype_name(activation), isa_name(ctx.isa()), json["peak_flops"].get<double>() / 1e9,
                                 peak.read_bytes_per_second / 1e9, "op", "us", "GFLOP/s", "GB/s", "share of its bound");
  for (const auto& op : json["ops"]) {
    text += fmt::format("{:<36} {:>10.1f} {:>9.1f} {:>8.1f}  {:.0f} % of {}\n", op["op"].get<std::string>(),
                        op["seconds"].get<double>() * 1e6, op["flops_per_second"].get<double>() / 1e9,
                        op["bytes_per_second"].get<double>() / 1e9, 100 * op["share_of_bound"].get<double>(),
                        op["bound"].get<std::string>());
  }
  write_output(text);
  return 0;
}

}  // namespace

void add_bench_ops(CLI::App& bench, Action& action) {
  auto options = std::make_shared<BenchOpsOptions>();
  CLI::App* verb = bench.add_subcommand("ops", "every operation of a training step against the machine's limits");
  verb->add_option("--dim", options->dim, "width")->check(CLI::Range(16, 16384));
  verb->add_option("--head-dim", options->head_dim, "features per head")->check(CLI::Range(2, 256));
  verb->add_option("--tokens", options->tokens, "tokens")->check(CLI::Range(16, 65536));
  verb->add_option("--vocab", options->vocab, "vocabulary")->check(CLI::Range(16, 1 << 20));
  verb->add_option("--threads", options->threads, "threads; 0: all cores")->check(CLI::Range(0, 1024));
  verb->add_option("--precision", options->precision, "auto, float32 or bf16")
      ->transform(CLI::CheckedTransformer(std::map<std::string, PrecisionChoice>{{"auto", PrecisionChoice::automatic},
                                                                                 {"float32", PrecisionChoice::float32},
                                                                                 {"bf16", PrecisionChoice::bfloat16}}));
  verb->add_option("--output", options->output, "folder for a picture of all ops under the machine's roof (SVG, PNG)");
  verb->add_option("--seconds", options->seconds, "time for each op")->check(CLI::Range(0.0, 60.0));
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &action] { action = [options] { return run_bench_ops(*options); }; });
}

}  // namespace tandem::app
