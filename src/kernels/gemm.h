// Matrix products of plain matrices, by the program's own kernels (own_product.h) or by oneDNN. Through oneDNN it is
// one single-threaded primitive per chunk of the result, the chunks spread over the context's own pool. (oneDNN's own
// threads meet at OpenMP barriers, where two threads fell to a tenth of their speed beside one busy neighbour.)
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/threads.h"
#include "kernels/isa.h"
#include "tensor/dtype.h"

namespace tandem {

namespace cpu {
struct ProductTypes;
}

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
  bool operator==(const Product&) const = default;
};

// All of a product but where its operands lie: what one is chosen by.
Product form_of(const Product& product);

// Whether the program's own kernels compute a product on an instruction set where nothing else was chosen; else oneDNN
// does. The two differ in their last bits, and a run must give the same bits whenever it is repeated or resumed: so
// this follows from the product and the instruction set, by rules that were measured (docs/performance.md), not from
// what a clock says while a run starts. Choices that were measured belong to a run, which keeps them: Gemm::choose().
bool own_kernels(Isa isa, const Product& product);

// How oneDNN's products are cut: chunks of rows x columns of the result, each computed in slices of `depth` along k
// that are added one after the other. Computed from the product alone, so that the same sums are formed in the same
// order whatever the number of threads.
struct ProductChunks {
  int64_t rows = 0, columns = 0, depth = 0;
};
ProductChunks product_chunks(const Product& product);

class Gemm {
 public:
  // Caps oneDNN at `isa`. The cap holds for the whole process and only the first one counts.
  Gemm(Isa isa, const cpu::ProductTypes& kernels, int threads);
  ~Gemm();

  // LogicError where oneDNN has no implementation (bf16 operands below AVX-512). The primitives of a shape are prepared
  // at its first use.
  void run(ThreadPool& pool, const Product& product);

  // The same by one of the two, whatever was chosen: for measurements and tests. LogicError where there is none.
  enum class By { own, onednn };
  void run(ThreadPool& pool, const Product& product, By by);
  // Whether there is one.
  bool has(const Product& product, By by) const;

  // Who computes all products of a form from now on, instead of own_kernels()'s choice; forget_choices() takes all of
  // them back. Not beside run().
  void choose(const Product& form, By by);
  void forget_choices();
  By by(const Product& product) const;

  // While `forms` is not null, every product that is run leaves its form there. Not beside run().
  void note_forms(std::vector<Product>* forms);

  // Who computes a product, for reports: "tandem, avx512_bf16", or "oneDNN, brg:avx512_core_bf16" with the name of the
  // implementation for the full chunks.
  std::string implementation(const Product& product);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
