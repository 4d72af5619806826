#include "kernels/cpu/rmsnorm.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

template <class Y>
void forward_row(Y* y, float* r_out, const float* x, const float* weight, int64_t d, double eps) {
  F squares = zero();
  for_lanes(d, [&](int64_t i, auto lanes) {
    F v = load(x + i, lanes);
    squares = fma(v, v, squares);
  });
  double mean = static_cast<double>(reduce_add(squares)) / static_cast<double>(d);
  float scale = static_cast<float>(1.0 / __builtin_sqrt(mean + eps));
  if (r_out) *r_out = scale;
  F r = broadcast(scale);
  for_lanes(d, [&](int64_t i, auto lanes) { store(y + i, load(x + i, lanes) * r * load(weight + i, lanes), lanes); });
}

void forward(Matrix y, float* r, Matrix x, const float* weight, int64_t rows, int64_t d, double eps) {
  for (int64_t t = 0; t < rows; ++t) {
    const float* from = static_cast<const float*>(x.data) + t * x.stride;
    float* r_out = r ? r + t : nullptr;
    if (y.bf16) {
      forward_row(static_cast<uint16_t*>(y.data) + t * y.stride, r_out, from, weight, d, eps);
    } else {
      forward_row(static_cast<float*>(y.data) + t * y.stride, r_out, from, weight, d, eps);
    }
  }
}

// dx = r (g - x r^2 mean(g x)) with g = dy weight.
template <class DY>
void backward_row(float* dx, bool accumulate, float* dweight, const DY* dy, const float* x, float scale,
                  const float* weight, int64_t d) {
  F products = zero();
  F r = broadcast(scale);
  for_lanes(d, [&](int64_t i, auto lanes) {
    F xr = load(x + i, lanes) * r;
    F g = load(dy + i, lanes);
    products = fma(g * load(weight + i, lanes), xr, products);
    store(dweight + i, fma(g, xr, load(dweight + i, lanes)), lanes);
  });
  F mean = broadcast(reduce_add(products) / static_cast<float>(d));
  for_lanes(d, [&](int64_t i, auto lanes) {
    F g = load(dy + i, lanes) * load(weight + i, lanes);
    F gradient = fnma(load(x + i, lanes) * r, mean, g) * r;
    store(dx + i, accumulate ? load(dx + i, lanes) + gradient : gradient, lanes);
  });
}

void backward(Matrix dx, bool accumulate, float* dweight, Matrix dy, Matrix x, const float* r, const float* weight,
              int64_t rows, int64_t d) {
  for (int64_t t = 0; t < rows; ++t) {
    float* to = static_cast<float*>(dx.data) + t * dx.stride;
    const float* from = static_cast<const float*>(x.data) + t * x.stride;
    if (dy.bf16) {
      const uint16_t* g = static_cast<const uint16_t*>(dy.data) + t * dy.stride;
      backward_row(to, accumulate, dweight, g, from, r[t], weight, d);
    } else {
      const float* g = static_cast<const float*>(dy.data) + t * dy.stride;
      backward_row(to, accumulate, dweight, g, from, r[t], weight, d);
    }
  }
}

}  // namespace

extern const RmsNormKernels kRmsNorm;
const RmsNormKernels kRmsNorm = {.forward = forward, .backward = backward};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
