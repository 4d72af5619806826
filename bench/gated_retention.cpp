#include "kernels/gated_retention.h"

#include <cmath>

#include "operands.h"

namespace tandem::bench {
namespace {

// kRows tokens, in sequences of 512, with heads of 64.
struct Operands {
  Arena arena;
  Tensor q, k, v, decay, states, o;
  RetentionPlan plan;

  Operands(int64_t heads, bool bf16) {
    DType type = type_of(bf16);
    Shape shape{kRows, heads, 64};
    q = random(arena, type, shape);
    k = random(arena, type, shape);
    v = random(arena, type, shape);
    decay = random(arena, DType::f32, {kRows, heads});
    for (int64_t t = 0; t < kRows; ++t) {
      for (int64_t h = 0; h < heads; ++h) store_element(decay, t, h, -0.1 * std::abs(load_element(decay, t, h)));
    }
    o = arena.tensor(type, shape);
    plan.clear(QueryOrder::by_tile);
    for (int64_t t = 0; t < kRows; t += 512) plan.add_sequence(t, t + 512);
    states = arena.zeros(DType::f32, {static_cast<int64_t>(plan.tiles.size()), heads, 64 * 64});
  }
};

// Arguments: heads, bf16.
void forward(benchmark::State& state) {
  Context ctx;
  Operands x(state.range(0), state.range(1) != 0);
  measure(state, [&] { kernels::gated_retention_forward(ctx, x.o, x.q, x.k, x.v, x.decay, x.states, x.plan, 0.125); });
  rate(state, "tokens", kRows);
}

void backward(benchmark::State& state) {
  Context ctx;
  Operands x(state.range(0), state.range(1) != 0);
  kernels::gated_retention_forward(ctx, x.o, x.q, x.k, x.v, x.decay, x.states, x.plan, 0.125);
  Tensor d_o = random(x.arena, x.q.dtype, x.q.shape), d_decay = x.arena.tensor(DType::f32, x.decay.shape);
  Tensor dq = x.arena.tensor(x.q.dtype, x.q.shape), dk = x.arena.tensor(x.q.dtype, x.q.shape);
  Tensor dv = x.arena.tensor(x.q.dtype, x.q.shape);
  measure(state, [&] {
    kernels::gated_retention_backward(ctx, dq, dk, dv, d_decay, d_o, x.q, x.k, x.v, x.decay, x.states, x.plan, 0.125);
  });
  rate(state, "tokens", kRows);
}

// One token each for 8 sequences, in the middle of a tile behind others.
void decode(benchmark::State& state) {
  Context ctx;
  Operands x(state.range(0), state.range(1) != 0);
  x.plan.clear(QueryOrder::by_query);
  for (int64_t i = 0; i < 8; ++i) {
    x.plan.begin_sequence();
    x.plan.tiles.push_back(
        {.keys = 64 * i, .tokens = 32, .query_row = i, .first_query = 31, .queries = 1, .before = i});
  }
  measure(state, [&] { kernels::gated_retention_forward(ctx, x.o, x.q, x.k, x.v, x.decay, x.states, x.plan, 0.125); });
  rate(state, "tokens", 8);
}

BENCHMARK(forward)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(decode)->ArgsProduct({{7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
