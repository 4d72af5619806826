// Elementary functions on vectors, by argument reduction and polynomials fitted for this file (Chebyshev fits in 30
// digits). Errors are the worst measured by tests/kernels/simd_math.cpp's sweep against the C library in double.
#pragma once

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

// The reduced argument r = x - n ln 2, |r| <= ln 2 / 2, and exp(r) - 1 = r + r^2 Q(r), relative error below 1e-8.
struct ReducedExp {
  F n;
  F minus_one;
};

TANDEM_INLINE ReducedExp reduce_exp(F x) {
  F n = round(x * broadcast(1.44269504f));
  // ln 2 in two parts, the first with so few bits that n times it is exact.
  F r = fnma(n, broadcast(0.693359375f), x);
  r = fnma(n, broadcast(-2.12194440e-4f), r);
  F q = broadcast(0.001392625083f);
  q = fma(q, r, broadcast(0.008363232884f));
  q = fma(q, r, broadcast(0.04166655421f));
  q = fma(q, r, broadcast(0.1666657667f));
  q = fma(q, r, broadcast(0.5f));
  return {n, fma(r * r, q, r)};
}

// exp(x): at most 2 units in the last place; 0 below -104 (and for -infinity), infinity above 88.73, NaN for NaN.
TANDEM_INLINE F exp(F x) {
  // The order of the operands lets NaN through: min and max give their second operand then.
  F clamped = max(broadcast(-110.0f), min(broadcast(90.0f), x));
  ReducedExp e = reduce_exp(clamped);
  return scale_by_power(e.minus_one + broadcast(1.0f), e.n);
}

// 2^x, 0 below -150. With n the integer nearest to x, 2^(x - n) is a polynomial through Chebyshev nodes of |x - n| <=
// 1/2 with 2^0 exact, of relative error 1e-8 (fine) or 7e-6 (rough).
template <bool kFine>
TANDEM_INLINE F exp2_near(F x) {
#if !defined(__AVX512F__)
  x = max(broadcast(-200.0f), x);  // in this order NaN passes
#endif
  F n = round(x);
  F f = x - n;
  F p;
  if constexpr (kFine) {
    p = broadcast(1.54531634e-4f);
    p = fma(p, f, broadcast(1.33908633e-3f));
    p = fma(p, f, broadcast(9.61808302e-3f));
    p = fma(p, f, broadcast(5.55035695e-2f));
    p = fma(p, f, broadcast(2.40226507e-1f));
    p = fma(p, f, broadcast(6.93147182e-1f));
  } else {
    p = broadcast(9.65671055e-3f);
    p = fma(p, f, broadcast(5.58382832e-2f));
    p = fma(p, f, broadcast(2.402253e-1f));
    p = fma(p, f, broadcast(6.93136752e-1f));
  }
  return scale_by_power(fma(p, f, broadcast(1.0f)), n);
}
TANDEM_INLINE F exp2_fine(F x) { return exp2_near<true>(x); }
TANDEM_INLINE F exp2_rough(F x) { return exp2_near<false>(x); }

// tanh(x) = -t / (t + 2) with t = exp(-2 |x|) - 1, which keeps small arguments exact; at most 4 units in the last
// place.
TANDEM_INLINE F tanh(F x) {
  F doubled = max(broadcast(-40.0f), abs(x) * broadcast(-2.0f));
  ReducedExp e = reduce_exp(doubled);
  F power = scale_by_power(broadcast(1.0f), e.n);
  F t = fma(power, e.minus_one, power - broadcast(1.0f));
  F positive = negate(t) / (t + broadcast(2.0f));
  return select(less(x, zero()), negate(positive), positive);
}

// 1 / (1 + exp(-x)); at most 4 units in the last place while the result is above 2^-126.
TANDEM_INLINE F sigmoid(F x) { return broadcast(1.0f) / (broadcast(1.0f) + exp(negate(x))); }

// Standard normal distribution: upper(a) = 1 - Phi(a) for a >= 0 from exp(a^2 / 2) (1 - Phi) = t P(t) / 2 with
// t = 1 / (1 + 0.4 a / sqrt 2), and density(a). Relative error below 2e-6 for a <= 13 (the square is what costs).
struct NormalTail {
  F upper;
  F density;
};

TANDEM_INLINE NormalTail normal_tail(F a) {
  F t = broadcast(1.0f) / fma(a, broadcast(0.282842712f), broadcast(1.0f));
  F p = broadcast(-0.03415652278f);
  p = fma(p, t, broadcast(0.2224943816f));
  p = fma(p, t, broadcast(-0.555611827f));
  p = fma(p, t, broadcast(0.6220585055f));
  p = fma(p, t, broadcast(-0.3454069048f));
  p = fma(p, t, broadcast(0.3042328417f));
  p = fma(p, t, broadcast(0.1187818744f));
  p = fma(p, t, broadcast(0.2172038742f));
  p = fma(p, t, broadcast(0.2246833808f));
  p = fma(p, t, broadcast(0.2257203975f));
  F power = exp(a * a * broadcast(-0.5f));
  return {power * p * t * broadcast(0.5f), power * broadcast(0.398942280f)};
}

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
