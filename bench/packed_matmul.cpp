// Products with packed weights: few rows as in decoding (bound by reading the weights), many as in a prompt.
//
// A row of decoding passes through all layers of a model, so that weights come from memory: the benchmark goes round
// copies that together exceed the last-level cache. `share_of_read` compares with a plain read loop over memory,
// measured in the same run.
#include "kernels/packed_matmul.h"

#include <vector>

#include "kernels/peak.h"
#include "operands.h"

namespace tandem::bench {
namespace {

constexpr int64_t kCacheBytes = int64_t{96} << 20;

using kernels::PackedWeight;
using kernels::WeightFormat;

Context& context() {
  static Context ctx;
  return ctx;
}

double read_rate() {
  static const double rate = kernels::measure_peak(context()).read_bytes_per_second;
  return rate;
}

// Copies of a weight that together exceed the cache; kept for the benchmarks of the same weight that follow.
const std::vector<PackedWeight>& copies(int64_t n, int64_t k, WeightFormat format) {
  static std::vector<PackedWeight> weights;
  if (!weights.empty()) {
    const PackedWeight& first = weights.front();
    if (first.outputs() == n && first.inputs() == k && first.format() == format) return weights;
    weights.clear();
  }
  Arena arena;
  Tensor w = random(arena, DType::f32, {n, k});
  do {
    weights.push_back(pack(context(), w, format));
  } while (static_cast<int64_t>(weights.size()) * weights[0].bytes() < kCacheBytes);
  return weights;
}

// Arguments: out features, in features, rows, weight format.
void decode(benchmark::State& state) {
  Context& ctx = context();
  int64_t n = state.range(0), k = state.range(1), m = state.range(2);
  auto format = static_cast<WeightFormat>(state.range(3));
  Arena arena;
  Tensor x = random(arena, DType::f32, {m, k}), y = arena.tensor(DType::f32, {m, n});
  const std::vector<PackedWeight>& weights = copies(n, k, format);
  int64_t bytes = weights[0].bytes();
  size_t next = 0;
  measure(state, [&] {
    kernels::packed_matmul(ctx, y, x, weights[next]);
    next = (next + 1) % weights.size();
  });
  rate(state, "bytes", static_cast<double>(bytes));
  rate(state, "share_of_read", static_cast<double>(bytes) / read_rate());
  state.SetLabel(std::string(weight_format_name(format)));
}

void prompt(benchmark::State& state) {
  Context& ctx = context();
  int64_t n = state.range(0), k = state.range(1), m = state.range(2);
  auto format = static_cast<WeightFormat>(state.range(3));
  Arena arena;
  Tensor x = random(arena, DType::f32, {m, k}), w = random(arena, DType::f32, {n, k});
  Tensor y = arena.tensor(DType::f32, {m, n});
  PackedWeight weight = pack(ctx, w, format);
  measure(state, [&] { kernels::packed_matmul(ctx, y, x, weight); });
  rate(state, "flops", 2.0 * static_cast<double>(m * n * k));
  state.SetLabel(std::string(weight_format_name(format)));
}

// The same product by the matrix library, on operands of the type that the format multiplies (0 f32, 1 bf16).
void library(benchmark::State& state) {
  Context& ctx = context();
  int64_t n = state.range(0), k = state.range(1), m = state.range(2);
  DType type = type_of(state.range(3));
  Arena arena;
  Tensor x = random(arena, type, {m, k}), w = random(arena, type, {n, k}), y = arena.tensor(DType::f32, {m, n});
  measure(state, [&] { kernels::matmul_nt(ctx, y, x, w); });
  rate(state, "flops", 2.0 * static_cast<double>(m * n * k));
}

constexpr std::pair<int64_t, int64_t> kShapes[] = {{1792, 448}, {448, 1792}, {32768, 448}, {3072, 768}, {32768, 768}};

void decode_shapes(benchmark::internal::Benchmark* bench) {
  for (int64_t format = 0; format < 4; ++format) {
    for (auto [n, k] : kShapes) {
      for (int64_t m : {1, 2, 4, 8, 16}) bench->Args({n, k, m, format});
    }
  }
  bench->UseRealTime()->Unit(benchmark::kMicrosecond);
}

void prompt_shapes(benchmark::internal::Benchmark* bench, int64_t formats) {
  for (int64_t format = 0; format < formats; ++format) {
    for (auto [n, k] : kShapes) {
      for (int64_t m : {512, 2048}) bench->Args({n, k, m, format});
    }
  }
  bench->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK(decode)->Apply(decode_shapes);
BENCHMARK(prompt)->Apply([](auto* bench) { prompt_shapes(bench, 4); });
BENCHMARK(library)->Apply([](auto* bench) { prompt_shapes(bench, has_bf16_products(choose_isa()) ? 2 : 1); });

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
