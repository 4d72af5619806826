// Products of a training step: forward (nt), gradient for the input (nn), gradient for the weight (tn).
#include "kernels/matmul.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: out features, in features, rows, bf16.
void nt(benchmark::State& state) {
  Context ctx;
  Arena arena;
  int64_t n = state.range(0), k = state.range(1), m = state.range(2);
  DType type = type_of(state.range(3));
  Tensor x = random(arena, type, {m, k}), w = random(arena, type, {n, k}), y = arena.tensor(DType::f32, {m, n});
  measure(state, [&] { kernels::matmul_nt(ctx, y, x, w); });
  rate(state, "flops", 2.0 * static_cast<double>(m * n * k));
}

void nn(benchmark::State& state) {
  Context ctx;
  Arena arena;
  int64_t n = state.range(0), k = state.range(1), m = state.range(2);
  DType type = type_of(state.range(3));
  Tensor dy = random(arena, type, {m, n}), w = random(arena, type, {n, k}), dx = arena.tensor(DType::f32, {m, k});
  measure(state, [&] { kernels::matmul_nn(ctx, dx, dy, w); });
  rate(state, "flops", 2.0 * static_cast<double>(m * n * k));
}

void tn(benchmark::State& state) {
  Context ctx;
  Arena arena;
  int64_t n = state.range(0), k = state.range(1), m = state.range(2);
  DType type = type_of(state.range(3));
  Tensor dy = random(arena, type, {m, n}), x = random(arena, type, {m, k}), dw = arena.zeros(DType::f32, {n, k});
  measure(state, [&] { kernels::matmul_tn(ctx, dw, dy, x, kernels::Store::accumulate); });
  rate(state, "flops", 2.0 * static_cast<double>(m * n * k));
}

void shapes(benchmark::internal::Benchmark* bench) {
  int64_t types = has_bf16_products(choose_isa()) ? 2 : 1;
  for (int64_t bf16 = 0; bf16 < types; ++bf16) {
    for (int64_t d : kWidths) {
      for (auto [n, k] : {std::pair{d, d}, {3 * d, d}, {4 * d, d}, {d, 4 * d}}) bench->Args({n, k, kRows, bf16});
      bench->Args({kVocabulary, d, 256, bf16});
    }
  }
  bench->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK(nt)->Apply(shapes);
BENCHMARK(nn)->Apply(shapes);
BENCHMARK(tn)->Apply(shapes);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
