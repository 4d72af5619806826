#include "kernels/cpu/gelu.h"

#include "kernels/cpu/simd_math.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

constexpr float kTwiceRootTwoOverPi = 1.59576912f;  // 2 sqrt(2 / pi)
constexpr float kCubic = 0.044715f;

// 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2u)): no cancellation for negative x. The exponent is bounded so that the
// exponential stays finite; there both functions have long vanished.
struct Gate {
  F open;    // 1 / (1 + e)
  F closed;  // e / (1 + e)
};
TANDEM_INLINE Gate tanh_gate(F x) {
  F twice_u = x * broadcast(kTwiceRootTwoOverPi) * fma(x * x, broadcast(kCubic), broadcast(1.0f));
  F e = exp(min(broadcast(87.0f), negate(twice_u)));
  F open = broadcast(1.0f) / (broadcast(1.0f) + e);
  return {open, e * open};
}

struct TanhKind {
  static TANDEM_INLINE F value(F x) { return x * tanh_gate(x).open; }
  static TANDEM_INLINE F slope(F x) {
    Gate gate = tanh_gate(x);
    F du = fma(x * x, broadcast(3.0f * kCubic * kTwiceRootTwoOverPi), broadcast(kTwiceRootTwoOverPi));
    return fma(x * gate.open, gate.closed * du, gate.open);
  }
};

TANDEM_INLINE F normal_cdf(F x, const NormalTail& tail) {
  return select(less(x, zero()), tail.upper, broadcast(1.0f) - tail.upper);
}

struct ErfKind {
  static TANDEM_INLINE F value(F x) { return x * normal_cdf(x, normal_tail(abs(x))); }
  static TANDEM_INLINE F slope(F x) {
    NormalTail tail = normal_tail(abs(x));
    return fma(x, tail.density, normal_cdf(x, tail));
  }
};

template <class Kind, class T>
void forward_run(T* y, const T* x, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, Kind::value(load(x + i, lanes)), lanes); });
}

template <class Kind, class T>
void backward_run(T* dx, const T* dy, const T* x, int64_t n) {
  for_lanes(
      n, [&](int64_t i, auto lanes) { store(dx + i, load(dy + i, lanes) * Kind::slope(load(x + i, lanes)), lanes); });
}

template <class Kind>
void forward(void* y, const void* x, bool bf16, int64_t n) {
  if (bf16) return forward_run<Kind>(static_cast<uint16_t*>(y), static_cast<const uint16_t*>(x), n);
  forward_run<Kind>(static_cast<float*>(y), static_cast<const float*>(x), n);
}

template <class Kind>
void backward(void* dx, const void* dy, const void* x, bool bf16, int64_t n) {
  if (bf16) {
    return backward_run<Kind>(static_cast<uint16_t*>(dx), static_cast<const uint16_t*>(dy),
                              static_cast<const uint16_t*>(x), n);
  }
  backward_run<Kind>(static_cast<float*>(dx), static_cast<const float*>(dy), static_cast<const float*>(x), n);
}

}  // namespace

extern const GeluKernels kGelu;
const GeluKernels kGelu = {
    .forward_tanh = forward<TanhKind>,
    .forward_erf = forward<ErfKind>,
    .backward_tanh = backward<TanhKind>,
    .backward_erf = backward<ErfKind>,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
