#include "kernels/swiglu.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: width of the model (the MLP is 4 times as wide), bf16.
void forward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor x = random(arena, type_of(state.range(1)), {kRows, 8 * state.range(0)});
  Tensor y = arena.tensor(x.dtype, {kRows, 4 * state.range(0)});
  measure(state, [&] { kernels::swiglu_forward(ctx, y, x); });
  rate(state, "elements", static_cast<double>(y.elements()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor x = random(arena, type_of(state.range(1)), {kRows, 8 * state.range(0)});
  Tensor dy = random(arena, x.dtype, {kRows, 4 * state.range(0)}), dx = arena.tensor(x.dtype, x.shape);
  measure(state, [&] { kernels::swiglu_backward(ctx, dx, dy, x); });
  rate(state, "elements", static_cast<double>(dy.elements()));
}

BENCHMARK(forward)->ArgsProduct({{64, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{64, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
