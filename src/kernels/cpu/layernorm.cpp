#include "kernels/cpu/layernorm.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

struct Statistics {
  float mean;
  float r;
};

Statistics statistics(const float* x, int64_t d, double eps) {
  F sum = zero();
  for_lanes(d, [&](int64_t i, auto lanes) { sum += load(x + i, lanes); });
  float mean = reduce_add(sum) / static_cast<float>(d);
  // The variance from differences: E[x^2] - mean^2 would cancel. Lanes beyond the end count as zero differences.
  F squares = zero();
  int64_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    F v = load(x + i) - broadcast(mean);
    squares = fma(v, v, squares);
  }
  if (i < d) {
    F v = select(first(d - i), load(x + i, d - i) - broadcast(mean), zero());
    squares = fma(v, v, squares);
  }
  double variance = static_cast<double>(reduce_add(squares)) / static_cast<double>(d);
  return {mean, static_cast<float>(1.0 / __builtin_sqrt(variance + eps))};
}

template <class Y>
void forward_row(Y* y, const Statistics& s, const float* x, const float* weight, const float* bias, int64_t d) {
  F mean = broadcast(s.mean), r = broadcast(s.r);
  for_lanes(d, [&](int64_t i, auto lanes) {
    F normed = (load(x + i, lanes) - mean) * r;
    store(y + i, fma(normed, load(weight + i, lanes), load(bias + i, lanes)), lanes);
  });
}

void forward(Matrix y, float* mean, float* r, Matrix x, const float* weight, const float* bias, int64_t rows, int64_t d,
             double eps) {
  for (int64_t t = 0; t < rows; ++t) {
    const float* from = static_cast<const float*>(x.data) + t * x.stride;
    Statistics s = statistics(from, d, eps);
    if (mean) mean[t] = s.mean;
    if (r) r[t] = s.r;
    if (y.bf16) {
      forward_row(static_cast<uint16_t*>(y.data) + t * y.stride, s, from, weight, bias, d);
    } else {
      forward_row(static_cast<float*>(y.data) + t * y.stride, s, from, weight, bias, d);
    }
  }
}

// dx = r (g - mean(g) - n mean(g n)) with g = dy weight and n = (x - mean) r.
template <class DY>
void backward_row(float* dx, bool accumulate, float* dweight, float* dbias, const DY* dy, const float* x,
                  const Statistics& s, const float* weight, int64_t d) {
  F mean = broadcast(s.mean), r = broadcast(s.r), sum = zero(), products = zero();
  for_lanes(d, [&](int64_t i, auto lanes) {
    F normed = (load(x + i, lanes) - mean) * r;
    F gradient = load(dy + i, lanes);
    F g = gradient * load(weight + i, lanes);  // zero beyond the end
    sum += g;
    products = fma(g, normed, products);
    store(dweight + i, fma(gradient, normed, load(dweight + i, lanes)), lanes);
    store(dbias + i, gradient + load(dbias + i, lanes), lanes);
  });
  F sum_mean = broadcast(reduce_add(sum) / static_cast<float>(d));
  F products_mean = broadcast(reduce_add(products) / static_cast<float>(d));
  for_lanes(d, [&](int64_t i, auto lanes) {
    F normed = (load(x + i, lanes) - mean) * r;
    F g = load(dy + i, lanes) * load(weight + i, lanes);
    F gradient = fnma(normed, products_mean, g - sum_mean) * r;
    store(dx + i, accumulate ? load(dx + i, lanes) + gradient : gradient, lanes);
  });
}

void backward(Matrix dx, bool accumulate, float* dweight, float* dbias, Matrix dy, Matrix x, const float* mean,
              const float* r, const float* weight, int64_t rows, int64_t d) {
  for (int64_t t = 0; t < rows; ++t) {
    float* to = static_cast<float*>(dx.data) + t * dx.stride;
    const float* from = static_cast<const float*>(x.data) + t * x.stride;
    Statistics s{mean[t], r[t]};
    if (dy.bf16) {
      const uint16_t* g = static_cast<const uint16_t*>(dy.data) + t * dy.stride;
      backward_row(to, accumulate, dweight, dbias, g, from, s, weight, d);
    } else {
      const float* g = static_cast<const float*>(dy.data) + t * dy.stride;
      backward_row(to, accumulate, dweight, dbias, g, from, s, weight, d);
    }
  }
}

}  // namespace

extern const LayerNormKernels kLayerNorm;
const LayerNormKernels kLayerNorm = {.forward = forward, .backward = backward};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
