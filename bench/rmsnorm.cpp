#include "kernels/rmsnorm.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: width, bf16 (of y and dy).
void forward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  int64_t d = state.range(0);
  Tensor x = random(arena, DType::f32, {kRows, d}), weight = random(arena, DType::f32, {d});
  Tensor y = arena.tensor(type_of(state.range(1)), {kRows, d}), r = arena.tensor(DType::f32, {kRows});
  measure(state, [&] { kernels::rmsnorm_forward(ctx, y, r, x, weight, 1e-5); });
  rate(state, "bytes", static_cast<double>(x.bytes() + y.bytes()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  int64_t d = state.range(0);
  Tensor x = random(arena, DType::f32, {kRows, d}), weight = random(arena, DType::f32, {d});
  Tensor dy = random(arena, type_of(state.range(1)), {kRows, d}), r = random(arena, DType::f32, {kRows});
  Tensor dx = arena.tensor(DType::f32, {kRows, d}), dweight = arena.zeros(DType::f32, {d});
  measure(state, [&] { kernels::rmsnorm_backward(ctx, dx, false, dweight, dy, x, r, weight); });
  rate(state, "bytes", static_cast<double>(x.bytes() + dy.bytes() + dx.bytes()));
}

BENCHMARK(forward)->ArgsProduct({{64, 192, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{64, 192, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
