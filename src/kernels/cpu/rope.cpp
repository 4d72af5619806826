#include "kernels/cpu/rope.h"

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

// Heads are worked on in slices of so many features, for which cosines and signed sines are spread once per row.
constexpr int64_t kSlice = 128;

template <class T>
void adjacent_row(T* x, const float* cos, const float* sin, int64_t heads, int64_t d, int64_t turned, float sign) {
  float c[kSlice], s[kSlice];
  for (int64_t begin = 0; begin < turned; begin += kSlice) {
    int64_t n = turned - begin < kSlice ? turned - begin : kSlice;
    for (int64_t i = 0; i < n; i += 2) {
      c[i] = c[i + 1] = cos[(begin + i) / 2];
      s[i + 1] = sign * sin[(begin + i) / 2];
      s[i] = -s[i + 1];
    }
    for (int64_t head = 0; head < heads; ++head) {
      T* at = x + head * d + begin;
      for_lanes(n, [&](int64_t i, auto lanes) {
        F v = load(at + i, lanes);
        store(at + i, fma(v, load(c + i, lanes), swap_pairs(v) * load(s + i, lanes)), lanes);
      });
    }
  }
}

template <class T>
void half_split_row(T* x, const float* cos, const float* sin, int64_t heads, int64_t d, int64_t turned, float sign) {
  int64_t half = turned / 2;
  for (int64_t head = 0; head < heads; ++head) {
    T* low = x + head * d;
    T* high = low + half;
    for_lanes(half, [&](int64_t i, auto lanes) {
      F a = load(low + i, lanes), b = load(high + i, lanes);
      F c = load(cos + i, lanes), s = load(sin + i, lanes) * broadcast(sign);
      store(low + i, fnma(b, s, a * c), lanes);
      store(high + i, fma(a, s, b * c), lanes);
    });
  }
}

void adjacent(Matrix x, const int32_t* positions, const float* cos, int64_t cos_stride, const float* sin,
              int64_t sin_stride, int64_t rows, int64_t heads, int64_t d, int64_t turned, bool inverse) {
  float sign = inverse ? -1.0f : 1.0f;
  for (int64_t t = 0; t < rows; ++t) {
    const float* c = cos + positions[t] * cos_stride;
    const float* s = sin + positions[t] * sin_stride;
    if (x.bf16) {
      adjacent_row(static_cast<uint16_t*>(x.data) + t * x.stride, c, s, heads, d, turned, sign);
    } else {
      adjacent_row(static_cast<float*>(x.data) + t * x.stride, c, s, heads, d, turned, sign);
    }
  }
}

void half_split(Matrix x, const int32_t* positions, const float* cos, int64_t cos_stride, const float* sin,
                int64_t sin_stride, int64_t rows, int64_t heads, int64_t d, int64_t turned, bool inverse) {
  float sign = inverse ? -1.0f : 1.0f;
  for (int64_t t = 0; t < rows; ++t) {
    const float* c = cos + positions[t] * cos_stride;
    const float* s = sin + positions[t] * sin_stride;
    if (x.bf16) {
      half_split_row(static_cast<uint16_t*>(x.data) + t * x.stride, c, s, heads, d, turned, sign);
    } else {
      half_split_row(static_cast<float*>(x.data) + t * x.stride, c, s, heads, d, turned, sign);
    }
  }
}

}  // namespace

extern const RopeKernels kRope;
const RopeKernels kRope = {.adjacent = adjacent, .half_split = half_split};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
