#include "kernels/gated_norm.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: heads of 64, bf16.
void forward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor o = random(arena, type_of(state.range(1)), {kRows, state.range(0), 64});
  Tensor g = random(arena, o.dtype, o.shape), y = arena.tensor(o.dtype, o.shape);
  measure(state, [&] { kernels::gated_norm_forward(ctx, y, o, g, 1e-5); });
  rate(state, "elements", static_cast<double>(y.elements()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor o = random(arena, type_of(state.range(1)), {kRows, state.range(0), 64});
  Tensor g = random(arena, o.dtype, o.shape), dy = random(arena, o.dtype, o.shape);
  Tensor d_o = arena.tensor(o.dtype, o.shape), dg = arena.tensor(o.dtype, o.shape);
  measure(state, [&] { kernels::gated_norm_backward(ctx, d_o, dg, dy, o, g, 1e-5); });
  rate(state, "elements", static_cast<double>(dy.elements()));
}

BENCHMARK(forward)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
