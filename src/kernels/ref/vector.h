// Elements of one-dimensional tensors, for the references. (A vector's elements are the rows of dimension 0.)
#pragma once

#include "tensor/tensor.h"

namespace tandem::kernels::ref {

inline double load_vector(const Tensor& t, int64_t i) { return load_element(t, i, 0); }
inline void store_vector(const Tensor& t, int64_t i, double value) { store_element(t, i, 0, value); }
inline void add_to_vector(const Tensor& t, int64_t i, double value) { store_vector(t, i, load_vector(t, i) + value); }

}  // namespace tandem::kernels::ref
