// What the benchmarks of the kernels share. Every program runs on all cores of the process and on the instruction set
// of TANDEM_ISA, and reports operations or bytes per second beside the time.
#pragma once

#include <benchmark/benchmark.h>

#include "base/rng.h"
#include "kernels/context.h"

namespace tandem::bench {

// Rows of a training step, and the widths of the smallest, a middle and the largest of the published sizes.
inline constexpr int64_t kRows = 2048;
inline constexpr int64_t kWidths[] = {64, 192, 448};
inline constexpr int64_t kVocabulary = 32768;

inline Tensor random(Arena& arena, DType dtype, const Shape& shape) {
  Tensor t = arena.tensor(dtype, shape);
  Rng rng(1, 0);
  // A few hundred values repeated: drawing millions of normal numbers would take longer than the measurement.
  double values[257];
  for (double& value : values) value = rng.normal();
  for (int64_t r = 0; r < t.rows(); ++r) {
    for (int64_t i = 0; i < t.row_size(); ++i) store_element(t, r, i, values[(r * t.row_size() + i) % 257]);
  }
  return t;
}

inline void rate(benchmark::State& state, const char* name, double per_iteration) {
  state.counters[name] = benchmark::Counter(per_iteration, benchmark::Counter::kIsIterationInvariantRate);
}

inline DType type_of(int64_t is_bf16) { return is_bf16 ? DType::bf16 : DType::f32; }

// Wall time: the pool's threads work beside the one that is measured.
template <class Run>
void measure(benchmark::State& state, const Run& run) {
  run();  // touches every page and prepares what is prepared once
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
}

}  // namespace tandem::bench
