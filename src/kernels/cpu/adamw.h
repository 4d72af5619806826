// Runs of n consecutive elements of kernels/adamw.h.
#pragma once

#include <stdint.h>

namespace tandem::cpu {

// The scalars of a step, prepared in double.
struct AdamWScalars {
  float gradient_scale;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float decay;      // 1 - learning_rate * weight_decay
  float step_size;  // learning_rate / (1 - beta1^step)
  float v_scale;    // 1 / sqrt(1 - beta2^step)
  float eps;
};

struct AdamWKernels {
  // compute (bf16) may be null.
  void (*update)(float* w, const float* g, float* m, float* v, uint16_t* compute, int64_t n, const AdamWScalars& s);
  double (*sum_of_squares)(const float* x, int64_t n);
};

}  // namespace tandem::cpu
