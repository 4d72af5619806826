#include "kernels/peak.h"

#include <algorithm>
#include <atomic>

#include "base/clock.h"
#include "kernels/cpu/kernels.h"

namespace tandem::kernels {
namespace {

constexpr double kSeconds = 0.05;  // of one trial: long enough for the clock to settle at the load's frequency
constexpr int kTrials = 5;

// Work per second of `loop(units, worker)` on all threads: each thread is given the same number of pieces, and the time
// runs until the last is done, as it does for an op.
template <class Loop>
double best_rate(Context& ctx, double work_per_unit, int64_t first_units, const Loop& loop) {
  std::atomic<float> sink{0};
  int threads = ctx.pool().threads();
  auto trial = [&](int64_t units) {
    Stopwatch watch;
    ctx.pool().run(threads, [&](int64_t chunk, int) { sink.store(loop(units, chunk), std::memory_order_relaxed); });
    return watch.seconds();
  };
  int64_t units = first_units;
  double seconds = trial(units);
  while (seconds < kSeconds / 4) {
    units *= 2;
    seconds = trial(units);
  }
  units = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(units) * kSeconds / seconds));
  double best = 0;
  for (int i = 0; i < kTrials; ++i) {
    best = std::max(best, work_per_unit * static_cast<double>(units) * threads / trial(units));
  }
  return best;
}

double bf16_rate(Context& ctx, const cpu::PeakKernels& kernels) {
  if (ctx.isa() == Isa::amx) {
    return best_rate(ctx, static_cast<double>(cpu::amx::multiply_add_tiles_flops()), 100000,
                     [](int64_t rounds, int64_t) { return cpu::amx::multiply_add_tiles(rounds); });
  }
  if (!kernels.multiply_add_bf16) return 0;
  return best_rate(ctx, static_cast<double>(kernels.multiply_add_bf16_flops), 100000,
                   [&](int64_t rounds, int64_t) { return kernels.multiply_add_bf16(rounds); });
}

double read_rate(Context& ctx, const cpu::PeakKernels& kernels) {
  // Larger than the last-level caches of one socket's share.
  constexpr int64_t kFloats = int64_t{64} << 20;
  Storage memory(DType::f32, {kFloats});
  int64_t share = kFloats / ctx.pool().threads();
  float* data = memory.tensor().as<float>();
  // Pages that were never written all map to one page of zeros.
  ctx.pool().run(ctx.pool().threads(),
                 [&](int64_t chunk, int) { std::fill(data + chunk * share, data + (chunk + 1) * share, 1.0f); });
  return best_rate(ctx, static_cast<double>(share) * sizeof(float), 1, [&](int64_t times, int64_t chunk) {
    float sum = 0;
    for (int64_t i = 0; i < times; ++i) sum += kernels.read(data + chunk * share, share);
    return sum;
  });
}

}  // namespace

Peak measure_peak(Context& ctx) {
  const cpu::PeakKernels& kernels = ctx.cpu().peak;
  Peak peak;
  peak.f32_flops = best_rate(ctx, static_cast<double>(kernels.multiply_add_flops), 100000,
                             [&](int64_t rounds, int64_t) { return kernels.multiply_add(rounds); });
  peak.bf16_flops = bf16_rate(ctx, kernels);
  peak.read_bytes_per_second = read_rate(ctx, kernels);
  return peak;
}

}  // namespace tandem::kernels
