// Rows of kernels/rmsnorm.h.
#pragma once

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

struct RmsNormKernels {
  // r may be null.
  void (*forward)(Matrix y, float* r, Matrix x, const float* weight, int64_t rows, int64_t d, double eps);
  // Adds these rows' share of the weight's gradient to dweight.
  void (*backward)(Matrix dx, bool accumulate, float* dweight, Matrix dy, Matrix x, const float* r, const float* weight,
                   int64_t rows, int64_t d);
};

}  // namespace tandem::cpu
