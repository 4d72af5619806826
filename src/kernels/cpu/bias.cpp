#include "kernels/cpu/bias.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

template <class T>
void add_to_row(T* y, const float* bias, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, load(y + i, lanes) + load(bias + i, lanes), lanes); });
}

template <class T>
void add_row(float* sum, const T* x, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(sum + i, load(sum + i, lanes) + load(x + i, lanes), lanes); });
}

void forward(Matrix y, const float* bias, int64_t rows, int64_t n) {
  for (int64_t t = 0; t < rows; ++t) {
    if (y.bf16) {
      add_to_row(static_cast<uint16_t*>(y.data) + t * y.stride, bias, n);
    } else {
      add_to_row(static_cast<float*>(y.data) + t * y.stride, bias, n);
    }
  }
}

void backward(float* dbias, Matrix dy, int64_t rows, int64_t n) {
  for (int64_t t = 0; t < rows; ++t) {
    if (dy.bf16) {
      add_row(dbias, static_cast<const uint16_t*>(dy.data) + t * dy.stride, n);
    } else {
      add_row(dbias, static_cast<const float*>(dy.data) + t * dy.stride, n);
    }
  }
}

}  // namespace

extern const BiasKernels kBias;
const BiasKernels kBias = {.forward = forward, .backward = backward};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
