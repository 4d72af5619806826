// Keys and values that an attention has already seen.
#pragma once

#include "tensor/arena.h"

namespace tandem {

// One layer's keys and values of one sequence, in order of position.
class KeyValueCache {
 public:
  // Room for `capacity` tokens of `heads` key heads with `head_dim` features.
  KeyValueCache(DType dtype, int64_t capacity, int64_t heads, int64_t head_dim);

  // Adds rows k and v [n, heads, head_dim] (any row stride, the cache's type). InputError when full.
  void append(const Tensor& k, const Tensor& v);
  void trim(int64_t length);  // keeps the first `length` tokens

  int64_t length() const { return length_; }
  int64_t capacity() const { return k_.tensor().rows(); }
  int64_t bytes_per_token() const { return 2 * k_.tensor().row_size() * dtype_bytes(k_.tensor().dtype); }
  int64_t bytes() const { return length_ * bytes_per_token(); }

  Tensor k() const { return k_.tensor().slice_rows(0, length_); }  // [length, heads, head_dim]
  Tensor v() const { return v_.tensor().slice_rows(0, length_); }

 private:
  Storage k_;
  Storage v_;
  int64_t length_ = 0;
};

}  // namespace tandem
