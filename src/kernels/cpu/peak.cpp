#include "kernels/cpu/peak.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

// Enough chains to hide the latency of two multiply-adds per cycle, few enough to stay in registers.
constexpr int kChains = 12;

using Register = decltype(F::v);

// Empty instructions that claim to change the chains: the compiler can neither merge rounds nor drop them.
TANDEM_INLINE void keep(Register (&a)[kChains]) {
  __asm__ volatile("" : "+v"(a[0]), "+v"(a[1]), "+v"(a[2]), "+v"(a[3]), "+v"(a[4]), "+v"(a[5]));
  __asm__ volatile("" : "+v"(a[6]), "+v"(a[7]), "+v"(a[8]), "+v"(a[9]), "+v"(a[10]), "+v"(a[11]));
}

// step(chain) for all chains, `rounds` times. The unrolling matters: without it g++ 12 keeps the chains in memory and
// shows a third of the peak.
template <class Step>
TANDEM_INLINE float run_chains(int64_t rounds, const Step& step) {
  Register a[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) a[i] = broadcast(static_cast<float>(i)).v;
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) a[i] = step(a[i]);
    keep(a);
  }
  F sum = {a[0]};
#pragma GCC unroll 12
  for (int i = 1; i < kChains; ++i) sum += F{a[i]};
  return reduce_add(sum);
}

float multiply_add(int64_t rounds) {
  F x = broadcast(0.999f), y = broadcast(1e-3f);
  return run_chains(rounds, [&](Register a) { return fma(F{a}, x, y).v; });
}

#if defined(__AVX512BF16__)
float multiply_add_bf16(int64_t rounds) {
  __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3C00));
  return run_chains(rounds, [&](Register a) { return _mm512_dpbf16_ps(a, x, x); });
}
constexpr auto kBf16 = multiply_add_bf16;
#else
constexpr float (*kBf16)(int64_t) = nullptr;
#endif

float read(const float* data, int64_t n) {
  F sum[8];
  for (F& s : sum) s = zero();
  for (int64_t i = 0; i + 8 * kLanes <= n; i += 8 * kLanes) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sum[j] += load(data + i + j * kLanes);
  }
  for (int j = 1; j < 8; ++j) sum[0] += sum[j];
  return reduce_add(sum[0]);
}

}  // namespace

extern const PeakKernels kPeak;
const PeakKernels kPeak = {
    .multiply_add = multiply_add,
    .multiply_add_flops = int64_t{2} * kChains * kLanes,
    .multiply_add_bf16 = kBf16,
    .multiply_add_bf16_flops = int64_t{4} * kChains * kLanes,
    .read = read,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
