// Rows of kernels/bias.h.
#pragma once

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

struct BiasKernels {
  void (*forward)(Matrix y, const float* bias, int64_t rows, int64_t n);
  void (*backward)(float* dbias, Matrix dy, int64_t rows, int64_t n);  // dbias += the rows, one after the other
};

}  // namespace tandem::cpu
