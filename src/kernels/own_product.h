// Matrix products by the program's own kernels (kernels/cpu/product.h).
#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "kernels/cpu/product.h"
#include "kernels/gemm.h"
#include "tensor/arena.h"

namespace tandem {

// How a product is cut: chunks of rows x columns of the result that threads take one by one. Within a chunk the sum is
// formed in blocks of `words` words, one block behind the other, and for each block `block_columns` columns at a time.
// Computed from the product alone: every element is the same sum in the same order for any number of threads. (The
// other sizes do not change an element's sum at all, `words` does.)
struct OwnPlan {
  int64_t rows = 0, columns = 0, words = 0, block_rows = 0, block_columns = 0;
  bool pack_a = false;
  bool keep_sums = false;  // sums grow in memory of their own, and go into the result when they are whole
};

// Bytes of packed panels of `size` rows of A (`panel`: kernels.rows) or columns of B (kernels.columns), `words` long.
int64_t panel_bytes(const cpu::ProductKernels& kernels, int64_t words, int64_t size, int64_t panel);

class OwnProducts {
 public:
  OwnProducts(const cpu::ProductTypes& kernels, int threads);

  // Whether there are kernels for the product's types.
  bool has(const Product& product) const;
  OwnPlan plan(const Product& product) const;
  void run(ThreadPool& pool, const Product& product);

 private:
  struct Buffers {
    Storage a, b, sums;  // of a and b two, where the next block is packed while one is multiplied
  };
  const cpu::ProductKernels& kernels_of(const Product& product) const;
  void reserve(const cpu::ProductKernels& kernels, const OwnPlan& plan);

  const cpu::ProductTypes kernels_;
  std::vector<Buffers> buffers_;  // one per worker
};

}  // namespace tandem
