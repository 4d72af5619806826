// Sums and conversions over runs of n consecutive elements.
#pragma once

#include <stdint.h>

namespace tandem::cpu {

struct ElementwiseKernels {
  void (*add)(float* y, const float* a, const float* b, int64_t n);
  void (*scale)(float* y, const float* x, float factor, int64_t n);
  void (*accumulate_f32)(float* y, const float* x, int64_t n);
  void (*accumulate_bf16)(float* y, const uint16_t* x, int64_t n);
  void (*to_bf16)(uint16_t* y, const float* x, int64_t n);
  void (*to_f32)(float* y, const uint16_t* x, int64_t n);
};

}  // namespace tandem::cpu
