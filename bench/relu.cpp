#include "kernels/relu.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: width, bf16.
void forward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor x = random(arena, type_of(state.range(1)), {kRows, 4 * state.range(0)});
  Tensor y = arena.tensor(x.dtype, x.shape);
  measure(state, [&] { kernels::relu_forward(ctx, y, x); });
  rate(state, "elements", static_cast<double>(x.elements()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor y = random(arena, type_of(state.range(1)), {kRows, 4 * state.range(0)});
  Tensor dy = random(arena, y.dtype, y.shape), dx = arena.tensor(y.dtype, y.shape);
  measure(state, [&] { kernels::relu_backward(ctx, dx, dy, y); });
  rate(state, "elements", static_cast<double>(y.elements()));
}

BENCHMARK(forward)->ArgsProduct({{64, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{64, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
