// The gate of two attentions, one query of one head at a time: n features each, g the weight of a.
#pragma once

#include <stdint.h>

namespace tandem::cpu {

struct LseGateKernels {
  void (*blend_f32)(float* o, const float* a, const float* b, float g, int64_t n);
  void (*blend_bf16)(uint16_t* o, const uint16_t* a, const uint16_t* b, float g, int64_t n);
  // da = g * d_o, db = (1 - g) * d_o; returns the sum of d_o * (a - b).
  float (*gradient_f32)(float* da, float* db, const float* d_o, const float* a, const float* b, float g, int64_t n);
  float (*gradient_bf16)(uint16_t* da, uint16_t* db, const uint16_t* d_o, const uint16_t* a, const uint16_t* b, float g,
                         int64_t n);
  float (*gradient_bf16_f32)(float* da, float* db, const float* d_o, const uint16_t* a, const uint16_t* b, float g,
                             int64_t n);  // values bf16, gradients f32
};

}  // namespace tandem::cpu
