#include "kernels/linear_cross_entropy.h"

#include <vector>

#include "kernels/cross_entropy.h"
#include "kernels/matmul.h"
#include "operands.h"

namespace tandem::bench {
namespace {

struct Operands {
  Arena arena;
  std::vector<int32_t> labels;
  kernels::LinearCrossEntropy op;

  explicit Operands(int64_t width) {
    op.x = random(arena, DType::bf16, {kRows, width});
    op.weight = random(arena, DType::bf16, {kVocabulary, width});
    op.multiplier = 1.0 / static_cast<double>(width);
    op.loss = arena.tensor(DType::f32, {kRows});
    op.dx = arena.tensor(DType::bf16, {kRows, width});
    op.dweight = arena.zeros(DType::f32, {kVocabulary, width});
    for (int64_t t = 0; t < kRows; ++t) labels.push_back(static_cast<int32_t>(t * 101 % kVocabulary));
    op.labels = labels;
  }
  double flops() const { return 6.0 * static_cast<double>(kRows * op.weight.elements()); }
};

void fused(benchmark::State& state) {
  Context ctx;
  Operands operands(state.range(0));
  if (!kernels::has_linear_cross_entropy(ctx, operands.op.x, operands.op.weight, operands.op.dweight)) {
    return state.SkipWithError("no products of bf16");
  }
  measure(state, [&] { kernels::linear_cross_entropy(ctx, operands.op); });
  rate(state, "FLOP", operands.flops());
}

// The same as products and a softmax one after the other, as in ops/head.cpp.
void apart(benchmark::State& state) {
  constexpr int64_t kChunk = 256, kGap = 32;
  Context ctx;
  Operands operands(state.range(0));
  const kernels::LinearCrossEntropy& op = operands.op;
  auto wide = [&](DType type) {
    return operands.arena.tensor(type, {kChunk, kVocabulary + kGap}).slice_columns(0, kVocabulary);
  };
  Tensor logits = wide(DType::f32), dlogits = wide(DType::bf16);
  measure(state, [&] {
    for (int64_t t = 0; t < kRows; t += kChunk) {
      Tensor x = op.x.slice_rows(t, t + kChunk);
      kernels::matmul_nt(ctx, logits, x, op.weight);
      kernels::cross_entropy(ctx, op.loss.slice_rows(t, t + kChunk), dlogits, {}, logits,
                             op.labels.subspan(static_cast<size_t>(t), kChunk), op.multiplier, 1);
      kernels::matmul_nn(ctx, op.dx.slice_rows(t, t + kChunk), dlogits, op.weight);
      kernels::matmul_tn(ctx, op.dweight, dlogits, x, kernels::Store::accumulate);
    }
  });
  rate(state, "FLOP", operands.flops());
}

void widths(benchmark::internal::Benchmark* b) {
  for (int64_t width : kWidths) b->Arg(width);
  b->Arg(768);
  b->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(fused)->Apply(widths);
BENCHMARK(apart)->Apply(widths);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
