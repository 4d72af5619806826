#include "kernels/cpu/swiglu.h"

#include "kernels/cpu/simd_math.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

template <class T>
TANDEM_INLINE T* row(const Matrix& m, int64_t t) {
  return static_cast<T*>(m.data) + t * m.stride;
}

template <class T>
void forward_rows(const Matrix& y, const Matrix& x, int64_t rows, int64_t n) {
  for (int64_t t = 0; t < rows; ++t) {
    const T* a = row<const T>(x, t);
    const T* b = a + n;
    T* to = row<T>(y, t);
    for_lanes(n, [&](int64_t i, auto lanes) {
      F v = load(a + i, lanes);
      store(to + i, v * sigmoid(v) * load(b + i, lanes), lanes);
    });
  }
}

// silu'(a) = s + a s (1 - s) with s the sigmoid of a; 1 - s is the sigmoid of -a, which does not cancel.
template <class T>
void backward_rows(const Matrix& dx, const Matrix& dy, const Matrix& x, int64_t rows, int64_t n) {
  for (int64_t t = 0; t < rows; ++t) {
    const T* a = row<const T>(x, t);
    const T* b = a + n;
    const T* g = row<const T>(dy, t);
    T* da = row<T>(dx, t);
    T* db = da + n;
    for_lanes(n, [&](int64_t i, auto lanes) {
      F v = load(a + i, lanes), d = load(g + i, lanes);
      F open = sigmoid(v);
      F slope = fma(v * open, sigmoid(negate(v)), open);
      store(da + i, d * load(b + i, lanes) * slope, lanes);
      store(db + i, d * v * open, lanes);
    });
  }
}

void forward(Matrix y, Matrix x, int64_t rows, int64_t n) {
  if (x.bf16) return forward_rows<uint16_t>(y, x, rows, n);
  forward_rows<float>(y, x, rows, n);
}

void backward(Matrix dx, Matrix dy, Matrix x, int64_t rows, int64_t n) {
  if (x.bf16) return backward_rows<uint16_t>(dx, dy, x, rows, n);
  backward_rows<float>(dx, dy, x, rows, n);
}

}  // namespace

extern const SwigluKernels kSwiglu;
const SwigluKernels kSwiglu = {.forward = forward, .backward = backward};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
