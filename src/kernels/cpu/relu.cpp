#include "kernels/cpu/relu.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

template <class T>
void forward_run(T* y, const T* x, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, max(zero(), load(x + i, lanes)), lanes); });
}

template <class T>
void backward_run(T* dx, const T* dy, const T* y, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    store(dx + i, select(less(zero(), load(y + i, lanes)), load(dy + i, lanes), zero()), lanes);
  });
}

void forward(void* y, const void* x, bool bf16, int64_t n) {
  if (bf16) return forward_run(static_cast<uint16_t*>(y), static_cast<const uint16_t*>(x), n);
  forward_run(static_cast<float*>(y), static_cast<const float*>(x), n);
}

void backward(void* dx, const void* dy, const void* y, bool bf16, int64_t n) {
  if (bf16) {
    return backward_run(static_cast<uint16_t*>(dx), static_cast<const uint16_t*>(dy), static_cast<const uint16_t*>(y),
                        n);
  }
  backward_run(static_cast<float*>(dx), static_cast<const float*>(dy), static_cast<const float*>(y), n);
}

}  // namespace

extern const ReluKernels kRelu;
const ReluKernels kRelu = {.forward = forward, .backward = backward};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
