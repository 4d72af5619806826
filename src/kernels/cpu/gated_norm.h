// Rows of kernels/gated_norm.h: heads of n features side by side. All operands of a call have one type.
#pragma once

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

struct GatedNormKernels {
  void (*forward)(Matrix y, Matrix o, Matrix g, int64_t rows, int64_t heads, int64_t n, double eps);
  void (*backward)(Matrix d_o, Matrix dg, Matrix dy, Matrix o, Matrix g, int64_t rows, int64_t heads, int64_t n,
                   double eps);
};

}  // namespace tandem::cpu
