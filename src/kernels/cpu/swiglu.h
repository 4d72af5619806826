// Rows of kernels/swiglu.h; n is the width of y. All operands of a call have one type.
#pragma once

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

struct SwigluKernels {
  void (*forward)(Matrix y, Matrix x, int64_t rows, int64_t n);
  void (*backward)(Matrix dx, Matrix dy, Matrix x, int64_t rows, int64_t n);
};

}  // namespace tandem::cpu
