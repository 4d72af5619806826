// Rows of kernels/layernorm.h.
#pragma once

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

struct LayerNormKernels {
  // mean and r may be null.
  void (*forward)(Matrix y, float* mean, float* r, Matrix x, const float* weight, const float* bias, int64_t rows,
                  int64_t d, double eps);
  // Adds these rows' share of the gradients of weight and bias to dweight and dbias.
  void (*backward)(Matrix dx, bool accumulate, float* dweight, float* dbias, Matrix dy, Matrix x, const float* mean,
                   const float* r, const float* weight, int64_t rows, int64_t d);
};

}  // namespace tandem::cpu
