// Rows of kernels/rope.h.
#pragma once

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

struct RopeKernels {
  // x rows of [heads, d]; row t is turned by positions[t] with the tables' rows of turned/2 (strides in elements): the
  // first `turned` features of each head. The two functions pair features (2i, 2i+1) or (i, i + turned/2).
  void (*adjacent)(Matrix x, const int32_t* positions, const float* cos, int64_t cos_stride, const float* sin,
                   int64_t sin_stride, int64_t rows, int64_t heads, int64_t d, int64_t turned, bool inverse);
  void (*half_split)(Matrix x, const int32_t* positions, const float* cos, int64_t cos_stride, const float* sin,
                     int64_t sin_stride, int64_t rows, int64_t heads, int64_t d, int64_t turned, bool inverse);
};

}  // namespace tandem::cpu
