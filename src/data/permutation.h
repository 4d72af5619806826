// A shuffle without a table: the order of documents in an epoch, computed for one index at a time.
#pragma once

#include <cstdint>

namespace tandem {

// A bijection of 0..size-1 named by (seed, stream). Balanced Feistel network of 8 rounds with Philox as round function
// over the next power of four, walked until it lands inside the range (Black and Rogaway, "Ciphers with arbitrary
// finite domains", CT-RSA 2002); fewer than 4 steps on average.
class Permutation {
 public:
  Permutation(uint64_t size, uint64_t seed, uint64_t stream);
  uint64_t size() const { return size_; }
  uint64_t operator()(uint64_t index) const;

 private:
  uint64_t step(uint64_t value) const;

  uint64_t size_;
  uint64_t seed_;
  uint64_t stream_;
  int half_bits_;
};

}  // namespace tandem
