#include "kernels/gated_retention.h"

#include "operands.h"

namespace tandem::bench {
namespace {

constexpr int64_t kHeadSize = 64;

// One sequence of kRows tokens.
struct Retention {
  Arena arena;
  RetentionPlan plan;
  Tensor q, k, v, o, d_o, dq, dk, dv, log_decay, d_decay, states;

  Retention(int64_t heads, DType type) {
    auto fill = [&] { return random(arena, type, {kRows, heads, kHeadSize}); };
    q = fill(), k = fill(), v = fill(), d_o = fill();
    o = arena.tensor(type, q.shape), dq = arena.tensor(type, q.shape);
    dk = arena.tensor(type, q.shape), dv = arena.tensor(type, q.shape);
    log_decay = arena.tensor(DType::f32, {kRows, heads}), d_decay = arena.tensor(DType::f32, {kRows, heads});
    for (int64_t t = 0; t < kRows; ++t) {
      for (int64_t h = 0; h < heads; ++h) store_element(log_decay, t, h, -0.01 * static_cast<double>(1 + t % 7));
    }
    plan.clear(QueryOrder::by_tile);
    plan.add_sequence(0, kRows);
    states = arena.zeros(DType::f32, {static_cast<int64_t>(plan.tiles.size()), heads, kHeadSize * kHeadSize});
  }
  void forward(Context& ctx) const {
    kernels::gated_retention_forward(ctx, o, q, k, v, log_decay, states, plan, 0.125);
  }
  void backward(Context& ctx) const {
    kernels::gated_retention_backward(ctx, dq, dk, dv, d_decay, d_o, q, k, v, log_decay, states, plan, 0.125);
  }
};

// Arguments: heads of 64, bf16.
void forward(benchmark::State& state) {
  Context ctx;
  Retention op(state.range(0), type_of(state.range(1)));
  measure(state, [&] { op.forward(ctx); });
  rate(state, "tokens", kRows);
}

void backward(benchmark::State& state) {
  Context ctx;
  Retention op(state.range(0), type_of(state.range(1)));
  op.forward(ctx);
  measure(state, [&] { op.backward(ctx); });
  rate(state, "tokens", kRows);
}

void decays(benchmark::State& state) {
  Context ctx;
  Retention op(state.range(0), type_of(state.range(1)));
  Tensor x = random(op.arena, type_of(state.range(1)), {kRows, state.range(0)});
  measure(state, [&] {
    kernels::log_decay_forward(ctx, op.log_decay, x, 16);
    kernels::log_decay_backward(ctx, x, op.d_decay, x, 16);
  });
  rate(state, "elements", static_cast<double>(x.elements()));
}

BENCHMARK(forward)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(decays)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
