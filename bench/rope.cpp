#include "kernels/rope.h"

#include <numeric>
#include <vector>

#include "operands.h"

namespace tandem::bench {
namespace {

// Arguments: heads of 64 features, bf16, 1 for half-split pairs.
void apply(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor x = random(arena, type_of(state.range(1)), {kRows, state.range(0), 64});
  Tensor cos = arena.tensor(DType::f32, {kRows, 32}), sin = arena.tensor(DType::f32, {kRows, 32});
  kernels::rope_table(cos, sin, 10000);
  std::vector<int32_t> positions(kRows);
  std::iota(positions.begin(), positions.end(), 0);
  auto pairs = state.range(2) ? kernels::RopePairs::half_split : kernels::RopePairs::adjacent;
  measure(state, [&] { kernels::rope_apply(ctx, x, positions, cos, sin, pairs, false); });
  rate(state, "bytes", 2.0 * static_cast<double>(x.bytes()));
}

BENCHMARK(apply)->ArgsProduct({{1, 7}, {0, 1}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
