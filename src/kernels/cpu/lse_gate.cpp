#include "kernels/cpu/lse_gate.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

TANDEM_INLINE int64_t lanes_left(int64_t i, int64_t n) { return n - i < kLanes ? n - i : kLanes; }

template <class T>
void blend(T* o, const T* a, const T* b, float g, int64_t n) {
  F of_a = broadcast(g), of_b = broadcast(1 - g);
  for (int64_t i = 0; i < n; i += kLanes) {
    int64_t m = lanes_left(i, n);
    store(o + i, fma(of_a, load(a + i, m), of_b * load(b + i, m)), m);
  }
}

template <class Value, class Gradient>
float gradient(Gradient* da, Gradient* db, const Gradient* d_o, const Value* a, const Value* b, float g, int64_t n) {
  F of_a = broadcast(g), of_b = broadcast(1 - g), sum = zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    int64_t m = lanes_left(i, n);
    F d = load(d_o + i, m);
    sum = fma(d, load(a + i, m) - load(b + i, m), sum);
    store(da + i, of_a * d, m);
    store(db + i, of_b * d, m);
  }
  return reduce_add(sum);
}

}  // namespace

extern const LseGateKernels kLseGate;
const LseGateKernels kLseGate = {
    .blend_f32 = blend<float>,
    .blend_bf16 = blend<uint16_t>,
    .gradient_f32 = gradient<float, float>,
    .gradient_bf16 = gradient<uint16_t, uint16_t>,
    .gradient_bf16_f32 = gradient<uint16_t, float>,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
