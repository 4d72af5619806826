#include "kernels/layernorm.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: width, bf16 (of y and dy).
void forward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  int64_t d = state.range(0);
  Tensor x = random(arena, DType::f32, {kRows, d}), weight = random(arena, DType::f32, {d});
  Tensor bias = random(arena, DType::f32, {d}), y = arena.tensor(type_of(state.range(1)), {kRows, d});
  measure(state, [&] { kernels::layernorm_forward(ctx, y, {}, {}, x, weight, bias, 1e-5); });
  rate(state, "bytes", static_cast<double>(x.bytes() + y.bytes()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  int64_t d = state.range(0);
  Tensor x = random(arena, DType::f32, {kRows, d}), weight = random(arena, DType::f32, {d});
  Tensor dy = random(arena, type_of(state.range(1)), {kRows, d}), r = random(arena, DType::f32, {kRows});
  Tensor mean = random(arena, DType::f32, {kRows}), dx = arena.tensor(DType::f32, {kRows, d});
  Tensor dweight = arena.zeros(DType::f32, {d}), dbias = arena.zeros(DType::f32, {d});
  measure(state, [&] { kernels::layernorm_backward(ctx, dx, false, dweight, dbias, dy, x, mean, r, weight); });
  rate(state, "bytes", static_cast<double>(x.bytes() + dy.bytes() + dx.bytes()));
}

BENCHMARK(forward)->ArgsProduct({{64, 192, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{64, 192, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
