#include "kernels/adamw.h"

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: parameters, 1 with a copy in bf16.
void update(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Shape shape{state.range(0)};
  Tensor w = random(arena, DType::f32, shape), g = random(arena, DType::f32, shape);
  Tensor m = arena.zeros(DType::f32, shape), v = arena.zeros(DType::f32, shape), compute;
  if (state.range(1)) compute = arena.tensor(DType::bf16, shape);
  kernels::AdamWStep step{.learning_rate = 1e-4, .weight_decay = 0.1, .step = 10};
  measure(state, [&] { kernels::adamw(ctx, w, g, m, v, compute, step); });
  rate(state, "bytes", 7.0 * static_cast<double>(w.bytes()));
}

enum Moments : int64_t { float32, bfloat16, bits8 };

// Arguments: parameters, format of the moments. With a copy in bf16, as in a step.
void update_with_state(benchmark::State& state) {
  Context ctx;
  Arena arena;
  const int64_t n = state.range(0);
  const DType type = state.range(1) == bits8 ? DType::u8 : type_of(state.range(1) == bfloat16);
  kernels::AdamWState moments{.first = arena.zeros(type, {n}), .second = arena.zeros(type, {n})};
  if (type == DType::u8) {
    moments.first_scale = arena.zeros(DType::f32, {kernels::state_blocks(n)});
    moments.second_scale = arena.zeros(DType::f32, {kernels::state_blocks(n)});
  }
  Tensor w = random(arena, DType::f32, {n}), g = random(arena, DType::f32, {n}),
         compute = arena.tensor(DType::bf16, {n});
  kernels::AdamWStep step{.learning_rate = 1e-4, .weight_decay = 0.1, .step = 10};
  measure(state, [&] { kernels::adamw(ctx, w, g, moments, compute, step, {}); });
  rate(state, "elements", static_cast<double>(n));
}

void sum_of_squares(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor x = random(arena, DType::f32, {state.range(0)});
  measure(state, [&] { benchmark::DoNotOptimize(kernels::sum_of_squares(ctx, x)); });
  rate(state, "bytes", static_cast<double>(x.bytes()));
}

BENCHMARK(update)->ArgsProduct({{1 << 16, 1 << 22}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(update_with_state)
    ->ArgsProduct({{1 << 25}, {float32, bfloat16, bits8}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(sum_of_squares)->Arg(1 << 16)->Arg(1 << 22)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
