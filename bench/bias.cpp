#include "kernels/bias.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: width, bf16.
void forward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor y = random(arena, type_of(state.range(1)), {kRows, state.range(0)});
  Tensor bias = random(arena, DType::f32, {state.range(0)});
  measure(state, [&] { kernels::add_bias(ctx, y, bias); });
  rate(state, "elements", static_cast<double>(y.elements()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor dy = random(arena, type_of(state.range(1)), {kRows, state.range(0)});
  Tensor dbias = random(arena, DType::f32, {state.range(0)});
  measure(state, [&] { kernels::bias_backward(ctx, dbias, dy); });
  rate(state, "elements", static_cast<double>(dy.elements()));
}

BENCHMARK(forward)->ArgsProduct({{64, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{64, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
