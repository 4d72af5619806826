// Tensors for kernel tests, surrounded by guard zones. The zones before and after the elements, and the columns between
// the end of a row and the next row, hold NaNs of one bit pattern: a write there is found by intact(), and a value read
// from there makes the result NaN. Elements start as the same NaNs, so that an element that is never written shows.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "base/rng.h"
#include "tensor/tensor.h"

namespace tandem::testing {

class Guarded {
 public:
  // row_stride 0: rows follow each other. The first element is aligned for its type and for nothing more.
  Guarded(DType dtype, const Shape& shape, int64_t row_stride = 0) {
    Tensor t(nullptr, dtype, shape);
    if (row_stride) t.row_stride = row_stride;
    size_t width = static_cast<size_t>(dtype_bytes(dtype));
    int64_t span = t.rows() ? (t.rows() - 1) * t.row_stride + t.row_size() : 0;
    bytes_.assign(2 * kZone + static_cast<size_t>(span) * width, kPattern);
    begin_ = kZone + width;  // odd multiples of the width: never a vector's alignment
    bytes_.resize(bytes_.size() + width, kPattern);
    t.data = bytes_.data() + begin_;
    tensor_ = t;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  const Tensor& tensor() const { return tensor_; }
  operator const Tensor&() const { return tensor_; }  // NOLINT(google-explicit-constructor): passed to kernels

  Guarded& fill(double value) {
    return set([&](int64_t, int64_t) { return value; });
  }
  // Normal numbers of standard deviation `scale`; exact in the tensor's type.
  Guarded& fill_normal(uint64_t seed, double scale = 1, double mean = 0) {
    Rng rng(seed, 7);
    return set([&](int64_t, int64_t) { return mean + scale * rng.normal(); });
  }
  Guarded& copy(const Tensor& from) {
    copy_convert(tensor_, from);
    return *this;
  }
  template <class Value>
  Guarded& set(const Value& value) {
    for (int64_t r = 0; r < tensor_.rows(); ++r) {
      for (int64_t i = 0; i < tensor_.row_size(); ++i) store_element(tensor_, r, i, value(r, i));
    }
    return *this;
  }

  // True while no byte outside the elements has changed.
  bool intact() const {
    std::vector<unsigned char> expected(bytes_.size(), kPattern);
    size_t width = static_cast<size_t>(dtype_bytes(tensor_.dtype));
    for (int64_t r = 0; r < tensor_.rows(); ++r) {
      size_t at = begin_ + static_cast<size_t>(r * tensor_.row_stride) * width;
      std::memcpy(&expected[at], &bytes_[at], static_cast<size_t>(tensor_.row_size()) * width);
    }
    return expected == bytes_;
  }

 private:
  static constexpr size_t kZone = 256;
  static constexpr unsigned char kPattern = 0xFF;
  std::vector<unsigned char> bytes_;
  size_t begin_ = 0;
  Tensor tensor_;
};

// The same elements in double, for the reference.
class InDouble : public Guarded {
 public:
  explicit InDouble(const Tensor& from) : Guarded(DType::f64, from.shape) { copy(from); }
};

}  // namespace tandem::testing
