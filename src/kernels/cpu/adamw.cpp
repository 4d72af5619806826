#include "kernels/cpu/adamw.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

void update(float* w, const float* g, float* m, float* v, uint16_t* compute, int64_t n, const AdamWScalars& s) {
  F gradient_scale = broadcast(s.gradient_scale), decay = broadcast(s.decay), eps = broadcast(s.eps);
  F beta1 = broadcast(s.beta1), beta2 = broadcast(s.beta2), v_scale = broadcast(s.v_scale);
  F one_minus_beta1 = broadcast(s.one_minus_beta1), one_minus_beta2 = broadcast(s.one_minus_beta2);
  F step_size = broadcast(s.step_size);
  for_lanes(n, [&](int64_t i, auto lanes) {
    F gradient = load(g + i, lanes) * gradient_scale;
    F mean = fma(load(m + i, lanes), beta1, gradient * one_minus_beta1);
    F square = fma(load(v + i, lanes), beta2, gradient * gradient * one_minus_beta2);
    F change = mean / fma(sqrt(square), v_scale, eps);
    F weight = fnma(change, step_size, load(w + i, lanes) * decay);
    store(m + i, mean, lanes);
    store(v + i, square, lanes);
    store(w + i, weight, lanes);
    if (compute) store(compute + i, weight, lanes);
  });
}

double sum_of_squares(const float* x, int64_t n) {
  D low = zero_double(), high = zero_double();
  for_lanes(n, [&](int64_t i, auto lanes) {
    F value = load(x + i, lanes);
    D a = widen_double(low_half(value)), b = widen_double(high_half(value));
    low = fma(a, a, low);
    high = fma(b, b, high);
  });
  return reduce_add(low + high);
}

}  // namespace

extern const AdamWKernels kAdamW;
const AdamWKernels kAdamW = {.update = update, .sum_of_squares = sum_of_squares};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
