#include "kernels/gelu.h"

#include "operands.h"

namespace tandem::bench {
namespace {

kernels::GeluKind kind_of(int64_t is_erf) { return is_erf ? kernels::GeluKind::erf : kernels::GeluKind::tanh; }

// Arguments: width, bf16, 1 for erf.
void forward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor x = random(arena, type_of(state.range(1)), {kRows, 4 * state.range(0)});
  Tensor y = arena.tensor(x.dtype, x.shape);
  measure(state, [&] { kernels::gelu_forward(ctx, y, x, kind_of(state.range(2))); });
  rate(state, "elements", static_cast<double>(x.elements()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor x = random(arena, type_of(state.range(1)), {kRows, 4 * state.range(0)});
  Tensor dy = random(arena, x.dtype, x.shape), dx = arena.tensor(x.dtype, x.shape);
  measure(state, [&] { kernels::gelu_backward(ctx, dx, dy, x, kind_of(state.range(2))); });
  rate(state, "elements", static_cast<double>(x.elements()));
}

BENCHMARK(forward)->ArgsProduct({{64, 448}, {0, 1}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{64, 448}, {0, 1}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
