// Matrix products of plain matrices through oneDNN, one single-threaded primitive per chunk of the result, the chunks
// spread over the context's own pool. (oneDNN's own threads meet at OpenMP barriers, where two threads fell to a tenth
// of their speed beside one busy neighbour.)
#pragma once

#include <cstdint>
#include <memory>

#include "base/threads.h"
#include "kernels/isa.h"
#include "tensor/dtype.h"

namespace tandem {

// C[m, n] (+)= A[m, k] B[k, n]. Strides in elements; one of the two strides of A and of B is 1, C's columns are
// consecutive. A and B are both f32 or both bf16, C is f32 or bf16, and sums are kept in f32.
struct Product {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t a_row_stride = 0, a_column_stride = 1;
  const void* b = nullptr;
  int64_t b_row_stride = 0, b_column_stride = 1;
  void* c = nullptr;
  int64_t c_row_stride = 0;
  DType operands = DType::f32;
  DType result = DType::f32;
  bool accumulate = false;
};

// How a product is cut: chunks of rows x columns of the result, each computed in slices of `depth` along k that are
// added one after the other. Computed from the product alone, so that the same sums are formed in the same order
// whatever the number of threads.
struct ProductChunks {
  int64_t rows = 0, columns = 0, depth = 0;
};
ProductChunks product_chunks(const Product& product);

class Gemm {
 public:
  // Caps oneDNN at `isa`. The cap holds for the whole process and only the first one counts.
  Gemm(Isa isa, int threads);
  ~Gemm();

  // LogicError where oneDNN has no implementation (bf16 operands below AVX-512). The primitives of a shape are prepared
  // at its first use.
  void run(ThreadPool& pool, const Product& product);

  // Name of oneDNN's implementation for the product's full chunks, for reports.
  const char* implementation(const Product& product);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
