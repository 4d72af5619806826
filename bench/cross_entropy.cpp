#include "kernels/cross_entropy.h"

#include <vector>

#include "operands.h"

namespace tandem::bench {
namespace {

constexpr int64_t kTokens = 256;

// Argument: 0 loss only, 1 with a gradient in f32, 2 with one in bf16.
void rows(benchmark::State& state) {
  Context ctx;
  Arena arena;
  Tensor logits = random(arena, DType::f32, {kTokens, kVocabulary}), loss = arena.tensor(DType::f32, {kTokens});
  Tensor dlogits;
  if (state.range(0)) dlogits = arena.tensor(type_of(state.range(0) - 1), logits.shape);
  std::vector<int32_t> labels(kTokens);
  for (int64_t t = 0; t < kTokens; ++t) labels[static_cast<size_t>(t)] = static_cast<int32_t>(t * 101 % kVocabulary);
  measure(state, [&] { kernels::cross_entropy(ctx, loss, dlogits, {}, logits, labels, 1, 1); });
  rate(state, "logits", static_cast<double>(logits.elements()));
}

BENCHMARK(rows)->DenseRange(0, 2)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
