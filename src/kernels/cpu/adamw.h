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

// n elements whose moments have few bits, from the first of a chunk (kernels/adamw_state.h).
struct AdamWSpan {
  float* w;
  const float* g;
  uint16_t* compute;  // may be null
  int64_t n;
  uint32_t key[2];
};

struct AdamWKernels {
  // compute (bf16) may be null.
  void (*update)(float* w, const float* g, float* m, float* v, uint16_t* compute, int64_t n, const AdamWScalars& s);
  void (*update_bf16)(const AdamWSpan& span, uint16_t* m, uint16_t* v, const AdamWScalars& s);
  // With the scales of the span's blocks.
  void (*update_8bit)(const AdamWSpan& span, uint8_t* m, uint8_t* v, float* m_scale, float* v_scale,
                      const AdamWScalars& s);
  double (*sum_of_squares)(const float* x, int64_t n);
};

}  // namespace tandem::cpu
