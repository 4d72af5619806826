#include "kernels/cpu/gated_norm.h"

#include "kernels/cpu/simd_math.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

template <class T>
TANDEM_INLINE T* head(const Matrix& m, int64_t t, int64_t h, int64_t n) {
  return static_cast<T*>(m.data) + t * m.stride + h * n;
}

template <class T>
TANDEM_INLINE float inverse_root_mean_square(const T* o, int64_t n, double eps) {
  F squares = zero();
  for_lanes(n, [&](int64_t i, auto lanes) {
    F v = load(o + i, lanes);
    squares = fma(v, v, squares);
  });
  double mean = static_cast<double>(reduce_add(squares)) / static_cast<double>(n);
  return static_cast<float>(1.0 / __builtin_sqrt(mean + eps));
}

template <class T>
void forward_head(T* y, const T* o, const T* g, int64_t n, double eps) {
  F r = broadcast(inverse_root_mean_square(o, n, eps));
  for_lanes(n, [&](int64_t i, auto lanes) {
    F gate = load(g + i, lanes);
    store(y + i, gate * sigmoid(gate) * (load(o + i, lanes) * r), lanes);
  });
}

// With h = dy silu(g):  d_o = r (h - o r^2 mean(h o)),  dg = dy o r silu'(g).
template <class T>
void backward_head(T* d_o, T* dg, const T* dy, const T* o, const T* g, int64_t n, double eps) {
  F r = broadcast(inverse_root_mean_square(o, n, eps)), products = zero();
  for_lanes(n, [&](int64_t i, auto lanes) {
    F gate = load(g + i, lanes), d = load(dy + i, lanes), normed = load(o + i, lanes) * r;
    F open = sigmoid(gate);
    products = fma(d * (gate * open), normed, products);
    F slope = fma(gate * open, sigmoid(negate(gate)), open);
    store(dg + i, d * normed * slope, lanes);
  });
  F mean = broadcast(reduce_add(products) / static_cast<float>(n));
  for_lanes(n, [&](int64_t i, auto lanes) {
    F gate = load(g + i, lanes);
    F h = load(dy + i, lanes) * (gate * sigmoid(gate));
    store(d_o + i, fnma(load(o + i, lanes) * r, mean, h) * r, lanes);
  });
}

template <class T>
void forward_rows(const Matrix& y, const Matrix& o, const Matrix& g, int64_t rows, int64_t heads, int64_t n,
                  double eps) {
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      forward_head<T>(head<T>(y, t, h, n), head<const T>(o, t, h, n), head<const T>(g, t, h, n), n, eps);
    }
  }
}

template <class T>
void backward_rows(const Matrix& d_o, const Matrix& dg, const Matrix& dy, const Matrix& o, const Matrix& g,
                   int64_t rows, int64_t heads, int64_t n, double eps) {
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      backward_head<T>(head<T>(d_o, t, h, n), head<T>(dg, t, h, n), head<const T>(dy, t, h, n),
                       head<const T>(o, t, h, n), head<const T>(g, t, h, n), n, eps);
    }
  }
}

void forward(Matrix y, Matrix o, Matrix g, int64_t rows, int64_t heads, int64_t n, double eps) {
  if (o.bf16) return forward_rows<uint16_t>(y, o, g, rows, heads, n, eps);
  forward_rows<float>(y, o, g, rows, heads, n, eps);
}

void backward(Matrix d_o, Matrix dg, Matrix dy, Matrix o, Matrix g, int64_t rows, int64_t heads, int64_t n,
              double eps) {
  if (o.bf16) return backward_rows<uint16_t>(d_o, dg, dy, o, g, rows, heads, n, eps);
  backward_rows<float>(d_o, dg, dy, o, g, rows, heads, n, eps);
}

}  // namespace

extern const GatedNormKernels kGatedNorm;
const GatedNormKernels kGatedNorm = {.forward = forward, .backward = backward};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
