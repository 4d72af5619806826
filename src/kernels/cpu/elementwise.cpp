#include "kernels/cpu/elementwise.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

void add(float* y, const float* a, const float* b, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, load(a + i, lanes) + load(b + i, lanes), lanes); });
}

void scale(float* y, const float* x, float factor, int64_t n) {
  F f = broadcast(factor);
  for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, f * load(x + i, lanes), lanes); });
}

template <class T>
void accumulate(float* y, const T* x, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, load(y + i, lanes) + load(x + i, lanes), lanes); });
}

template <class To, class From>
void convert(To* y, const From* x, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, load(x + i, lanes), lanes); });
}

}  // namespace

extern const ElementwiseKernels kElementwise;
const ElementwiseKernels kElementwise = {
    .add = add,
    .scale = scale,
    .accumulate_f32 = accumulate<float>,
    .accumulate_bf16 = accumulate<uint16_t>,
    .to_bf16 = convert<uint16_t, float>,
    .to_f32 = convert<float, uint16_t>,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
