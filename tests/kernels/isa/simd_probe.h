// The functions of kernels/cpu/simd.h and simd_math.h of every instruction set, for tests.
#pragma once

#include <stdint.h>

namespace tandem::cpu {

struct SimdProbe {
  void (*exp)(float* y, const float* x, int64_t n);
  void (*tanh)(float* y, const float* x, int64_t n);
  void (*sigmoid)(float* y, const float* x, int64_t n);
  void (*normal_upper)(float* y, const float* x, int64_t n);
  void (*normal_density)(float* y, const float* x, int64_t n);
  float (*sum)(const float* x, int64_t n);      // by vectors
  float (*largest)(const float* x, int64_t n);  // n a multiple of 16
  float (*least)(const float* x, int64_t n);
};

namespace avx2 {
extern const SimdProbe kSimdProbe;
}
namespace avx512 {
extern const SimdProbe kSimdProbe;
}
namespace avx512_bf16 {
extern const SimdProbe kSimdProbe;
}

}  // namespace tandem::cpu
