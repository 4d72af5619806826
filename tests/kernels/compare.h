// Comparison of a kernel's result with the reference under a computed error bound.
//
// Bounds are stated per element as c * kUnit * (sum of the magnitudes of the terms), with kUnit the rounding of one f32
// operation and c the number of operations on the longest path (sums over n elements by vectors of at least 8 lanes
// have a path of n / 8 + 3), rounded up to the next even number or so. Higham 2002, section 3.1.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/context.h"
#include "tensor/tensor.h"

namespace tandem::testing {

inline constexpr double kUnit = 0x1p-24;       // half a unit in the last place of an f32, relative
inline constexpr double kUnitBf16 = 0x1p-8;    // of a bfloat16, which has 8 significant bits
inline constexpr double kSmallest = 0x1p-126;  // the smallest normal number: below it results may be flushed to zero

// Operations on the longest path of a sum of n terms by vectors.
inline double sum_path(int64_t n) { return static_cast<double>(n) / 8 + 4; }

// |got - want| <= bound(row, i), plus the rounding of a bf16 result.
template <class Bound>
void expect_close(const Tensor& got, const Tensor& want, const char* what, const Bound& bound) {
  ASSERT_EQ(got.rows(), want.rows());
  ASSERT_EQ(got.row_size(), want.row_size());
  int reported = 0;
  for (int64_t r = 0; r < got.rows() && reported < 3; ++r) {
    for (int64_t i = 0; i < got.row_size() && reported < 3; ++i) {
      double g = load_element(got, r, i), w = load_element(want, r, i);
      double allowed = bound(r, i) + kSmallest;
      if (got.dtype == DType::bf16) allowed += kUnitBf16 * (std::abs(w) + allowed);
      if (std::abs(g - w) <= allowed) continue;
      ADD_FAILURE() << what << "[" << r << ", " << i << "]: got " << g << ", want " << w << ", error "
                    << std::abs(g - w) << ", allowed " << allowed;
      ++reported;
    }
  }
}

// All bytes of all rows are equal.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.dtype != b.dtype || a.rows() != b.rows() || a.row_size() != b.row_size()) return false;
  int64_t width = dtype_bytes(a.dtype);
  for (int64_t r = 0; r < a.rows(); ++r) {
    const char* left = static_cast<const char*>(a.data) + r * a.row_stride * width;
    const char* right = static_cast<const char*>(b.data) + r * b.row_stride * width;
    if (!std::equal(left, left + a.row_size() * width, right)) return false;
  }
  return true;
}

// One context per number of threads on the instruction set chosen for this run (TANDEM_ISA).
inline Context& context(int threads = 2) {
  static Context contexts[] = {Context(1), Context(2), Context(3)};
  return contexts[threads - 1];
}

// Sizes around the widths of vectors and blocks.
inline constexpr int64_t kAwkwardSizes[] = {1, 7, 16, 17, 63, 64, 65, 130};

}  // namespace tandem::testing
