#include "kernels/lse_gate.h"

#include "operands.h"

namespace tandem::bench {
namespace {

struct Gate {
  Arena arena;
  Tensor a, b, o, d_o, da, db, lse_a, lse_b, dlse_a, dlse_b, bias, temperature, dbias, dtemperature;

  Gate(int64_t heads, DType type) {
    a = random(arena, type, {kRows, heads, 64});
    b = random(arena, type, a.shape), d_o = random(arena, type, a.shape);
    o = arena.tensor(type, a.shape), da = arena.tensor(type, a.shape), db = arena.tensor(type, a.shape);
    lse_a = random(arena, DType::f32, {heads, kRows}), lse_b = random(arena, DType::f32, {heads, kRows});
    dlse_a = arena.tensor(DType::f32, lse_a.shape), dlse_b = arena.tensor(DType::f32, lse_a.shape);
    bias = random(arena, DType::f32, {heads, 2}), temperature = random(arena, DType::f32, {heads});
    dbias = arena.zeros(DType::f32, {heads, 2}), dtemperature = arena.zeros(DType::f32, {heads});
  }
};

// Arguments: heads of 64, bf16.
void forward(benchmark::State& state) {
  Context ctx;
  Gate g(state.range(0), type_of(state.range(1)));
  measure(state, [&] { kernels::lse_gate_forward(ctx, g.o, g.a, g.b, g.lse_a, g.lse_b, g.bias, g.temperature); });
  rate(state, "elements", static_cast<double>(g.o.elements()));
}

void backward(benchmark::State& state) {
  Context ctx;
  Gate g(state.range(0), type_of(state.range(1)));
  measure(state, [&] {
    kernels::lse_gate_backward(ctx, g.da, g.db, g.dlse_a, g.dlse_b, g.dbias, g.dtemperature, g.d_o, g.a, g.b, g.lse_a,
                               g.lse_b, g.bias, g.temperature);
  });
  rate(state, "elements", static_cast<double>(g.o.elements()));
}

BENCHMARK(forward)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(backward)->ArgsProduct({{1, 7}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
