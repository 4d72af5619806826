#include "kernels/elementwise.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Argument: width.
void add(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Shape shape{kRows, state.range(0)};
  Tensor a = random(arena, DType::f32, shape), b = random(arena, DType::f32, shape),
         y = arena.tensor(DType::f32, shape);
  measure(state, [&] { kernels::add(ctx, y, a, b); });
  rate(state, "bytes", 3.0 * static_cast<double>(y.bytes()));
}

void convert_to_bf16(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Shape shape{kRows, state.range(0)};
  Tensor x = random(arena, DType::f32, shape), y = arena.tensor(DType::bf16, shape);
  measure(state, [&] { kernels::convert(ctx, y, x); });
  rate(state, "bytes", static_cast<double>(x.bytes() + y.bytes()));
}

BENCHMARK(add)->Arg(64)->Arg(448)->Arg(1792)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(convert_to_bf16)->Arg(64)->Arg(448)->Arg(1792)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
