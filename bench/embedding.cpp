#include "kernels/embedding.h"

#include <vector>

#include "operands.h"

namespace tandem::bench {
namespace {

std::vector<int32_t> random_ids() {
  Rng rng(1, 0);
  std::vector<int32_t> ids(kRows);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(kVocabulary));
  return ids;
}

// Argument: width.
void forward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor table = random(arena, DType::f32, {kVocabulary, state.range(0)});
  Tensor y = arena.tensor(DType::f32, {kRows, state.range(0)});
  std::vector<int32_t> ids = random_ids();
  measure(state, [&] { kernels::embedding_forward(ctx, y, table, ids); });
  rate(state, "bytes", 2.0 * static_cast<double>(y.bytes()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor dtable = arena.zeros(DType::f32, {kVocabulary, state.range(0)});
  Tensor dy = random(arena, DType::f32, {kRows, state.range(0)});
  std::vector<int32_t> ids = random_ids();
  measure(state, [&] { kernels::embedding_backward(ctx, dtable, dy, ids); });
  rate(state, "bytes", 3.0 * static_cast<double>(dy.bytes()));
}

BENCHMARK(forward)->Arg(64)->Arg(448)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->Arg(64)->Arg(448)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
