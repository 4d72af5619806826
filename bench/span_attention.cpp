// Span attention: forward and backward over the plans of a training step, and decoding. FLOP/s count only the pairs
// that the plan allows: 4 D per pair and head forward, 10 D backward.
//
// Arguments: head size, heads, row length, block length (the row length: one causal source).
#include "kernels/span_attention.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "base/rng.h"

namespace tandem {
namespace {

SpanPlan make_plan(int64_t length, int64_t block) {
  SpanPlan plan;
  plan.clear(block < length ? 2 : 1);
  for (int64_t begin = 0; begin < length; begin += block) {
    int64_t end = std::min(length, begin + block);
    plan.add_run(begin, end);
    plan.add_span({.source = 0, .begin = begin, .end = end, .shift = 0});
    if (plan.sources == 2) plan.add_span({.source = 1, .begin = 0, .end = std::max<int64_t>(begin, 1)});
  }
  return plan;
}

class Operands {
 public:
  Operands(DType dtype, int64_t queries, int64_t keys, int64_t heads, int64_t head_size, int64_t sources)
      : heads_(heads), size_(head_size) {
    q = normal(dtype, queries, 1);
    d_o = normal(dtype, queries, 2);
    o = arena_.tensor(dtype, q.shape);
    dq = arena_.tensor(dtype, q.shape);
    lse = arena_.tensor(DType::f32, {heads, queries});
    for (int64_t s = 0; s < sources; ++s) {
      uint64_t seed = 10 + static_cast<uint64_t>(s);
      source[s] = {normal(dtype, keys, seed), normal(dtype, keys, seed + 10)};
      gradient[s] = {arena_.tensor(dtype, source[s].k.shape), arena_.tensor(dtype, source[s].k.shape), false};
    }
    count = static_cast<size_t>(sources);
  }
  void forward(Context& ctx, const SpanPlan& plan) {
    kernels::span_attention_forward(ctx, o, lse, {}, q, {source, count}, plan, scale());
  }
  void backward(Context& ctx, const SpanPlan& plan) {
    kernels::span_attention_backward(ctx, dq, {gradient, count}, d_o, o, lse, {}, {}, q, {source, count}, plan,
                                     scale());
  }

 private:
  Tensor normal(DType dtype, int64_t rows, uint64_t seed) {
    Tensor t = arena_.tensor(dtype, {rows, heads_, size_});
    Rng rng(seed, 1);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < t.row_size(); ++i) store_element(t, r, i, rng.normal());
    }
    return t;
  }
  double scale() const { return 1 / std::sqrt(static_cast<double>(size_)); }

  Arena arena_;
  int64_t heads_, size_;
  Tensor q, d_o, o, dq, lse;
  kernels::KeyValueSource source[2];
  kernels::KeyValueGradient gradient[2];
  size_t count = 0;
};

void set_rate(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void train(benchmark::State& state, DType dtype, bool backward) {
  int64_t size = state.range(0), heads = state.range(1), length = state.range(2), block = state.range(3);
  Context ctx;
  SpanPlan plan = make_plan(length, block);
  Operands operands(dtype, length, length, heads, size, plan.sources);
  operands.forward(ctx, plan);
  for (auto _ : state) {
    if (backward) {
      operands.backward(ctx, plan);
    } else {
      operands.forward(ctx, plan);
    }
  }
  set_rate(state, static_cast<double>((backward ? 10 : 4) * size * heads * plan.allowed_pairs()));
}

void decode(benchmark::State& state, DType dtype) {
  int64_t size = state.range(0), heads = state.range(1), keys = state.range(2);
  Context ctx;
  SpanPlan plan;
  plan.clear(1);
  plan.add_run(0, 1);
  plan.add_span({.begin = 0, .end = keys});
  Operands operands(dtype, 1, keys, heads, size, 1);
  for (auto _ : state) operands.forward(ctx, plan);
  set_rate(state, static_cast<double>(4 * size * heads * keys));
  state.SetBytesProcessed(state.iterations() * 2 * keys * heads * size * dtype_bytes(dtype));
}

void sizes(benchmark::internal::Benchmark* b) {
  b->UseRealTime()->Unit(benchmark::kMillisecond);
  for (int64_t size : {16, 32, 64, 128}) b->Args({size, 1, 2048, 2048});
  for (int64_t block : {2048, 256, 32, 4}) b->Args({64, 7, 2048, block});
}

void caches(benchmark::internal::Benchmark* b) {
  b->UseRealTime()->Unit(benchmark::kMicrosecond);
  // Within a core's cache, within the last one, and from memory.
  for (int64_t keys : {256, 2048, 65536}) b->Args({64, 7, keys});
}

BENCHMARK_CAPTURE(train, forward_f32, DType::f32, false)->Apply(sizes);
BENCHMARK_CAPTURE(train, forward_bf16, DType::bf16, false)->Apply(sizes);
BENCHMARK_CAPTURE(train, backward_f32, DType::f32, true)->Apply(sizes);
BENCHMARK_CAPTURE(train, backward_bf16, DType::bf16, true)->Apply(sizes);
BENCHMARK_CAPTURE(decode, f32, DType::f32)->Apply(caches);
BENCHMARK_CAPTURE(decode, bf16, DType::bf16)->Apply(caches);

}  // namespace
}  // namespace tandem

BENCHMARK_MAIN();
