// A tensor is a value: where the elements are, of which type, in which shape. It owns nothing; arenas, pools and
// parameter stores do (arena.h, storage.h).
#pragma once

#include <cassert>
#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace tandem {

// Row-major. Dimension 0 may have a stride of its own (`row_stride`, in elements), so that columns of a matrix can be
// viewed in place, such as the queries inside [T, 3*d]; everything inside one index of dimension 0 is contiguous.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  int64_t row_stride = 0;

  Tensor() = default;
  Tensor(void* data_, DType dtype_, const Shape& shape_)
      : data(data_),
        dtype(dtype_),
        shape(shape_),
        row_stride(shape_.rank() > 0 && shape_[0] > 0 ? shape_.elements() / shape_[0] : 0) {}

  bool defined() const { return data != nullptr; }
  int64_t rows() const { return shape.rank() ? shape[0] : 1; }
  int64_t row_size() const {  // elements inside one index of dimension 0
    int64_t n = 1;
    for (int i = 1; i < shape.rank(); ++i) n *= shape[i];
    return n;
  }
  int64_t elements() const { return shape.elements(); }
  int64_t bytes() const { return elements() * dtype_bytes(dtype); }
  bool contiguous() const { return rows() <= 1 || row_stride == row_size(); }

  template <class T>
  T* as() const {
    assert(sizeof(T) == static_cast<size_t>(dtype_bytes(dtype)));
    return static_cast<T*>(data);
  }
  // Pointer to the first element of row r.
  template <class T>
  T* row(int64_t r) const {
    return as<T>() + r * row_stride;
  }

  // Rows [begin, end) of dimension 0.
  Tensor slice_rows(int64_t begin, int64_t end) const {
    Tensor out = *this;
    out.data = static_cast<char*>(data) + begin * row_stride * dtype_bytes(dtype);
    out.shape = with_rows(end - begin);
    return out;
  }
  // Columns [begin, end) of a matrix.
  Tensor slice_columns(int64_t begin, int64_t end) const {
    assert(shape.rank() == 2);
    Tensor out = *this;
    out.data = static_cast<char*>(data) + begin * dtype_bytes(dtype);
    out.shape = Shape{shape[0], end - begin};
    return out;
  }
  // The same elements under another shape of the same number of rows.
  Tensor view(const Shape& other) const {
    assert(other.elements() == elements() && (contiguous() || other[0] == rows()));
    Tensor out(data, dtype, other);
    if (other.rank() && other[0] == rows()) out.row_stride = row_stride;
    return out;
  }

 private:
  Shape with_rows(int64_t n) const {
    switch (shape.rank()) {
      case 1: return {n};
      case 2: return {n, shape[1]};
      case 3: return {n, shape[1], shape[2]};
      default: return {n, shape[1], shape[2], shape[3]};
    }
  }
};

// Reads or writes element i of row r whatever the type; for references, tests and tools, not for kernels.
double load_element(const Tensor& t, int64_t r, int64_t i);
void store_element(const Tensor& t, int64_t r, int64_t i, double value);

// Copies with conversion between any two real types; shapes must have equal rows and row sizes.
void copy_convert(const Tensor& to, const Tensor& from);

}  // namespace tandem
