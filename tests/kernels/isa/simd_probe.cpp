#include "kernels/isa/simd_probe.h"

#include "kernels/cpu/simd_math.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

template <F (*Function)(F)>
void map(float* y, const float* x, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, Function(load(x + i, lanes)), lanes); });
}

F upper(F x) { return normal_tail(x).upper; }
F density(F x) { return normal_tail(x).density; }

float sum(const float* x, int64_t n) {
  F total = zero();
  for_lanes(n, [&](int64_t i, auto lanes) { total += load(x + i, lanes); });
  return reduce_add(total);
}

float largest(const float* x, int64_t n) {
  F found = load(x);
  for (int64_t i = 0; i < n; i += kLanes) found = max(found, load(x + i));
  return reduce_max(found);
}

float least(const float* x, int64_t n) {
  F found = load(x);
  for (int64_t i = 0; i < n; i += kLanes) found = min(found, load(x + i));
  return reduce_min(found);
}

}  // namespace

const SimdProbe kSimdProbe = {
    .exp = map<exp>,
    .tanh = map<tanh>,
    .sigmoid = map<sigmoid>,
    .normal_upper = map<upper>,
    .normal_density = map<density>,
    .sum = sum,
    .largest = largest,
    .least = least,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
