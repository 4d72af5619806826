// NumPy's default generator, as far as the authors' evaluation uses it: PCG64 (O'Neill 2014, PCG XSL RR 128/64) seeded
// through SeedSequence, NumPy 1.17 and later. For numbers that are to be those of a Python program; everything else
// draws from base/rng.h.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

__extension__ using Uint128 = unsigned __int128;

class NumpyRng {
 public:
  explicit NumpyRng(uint32_t seed);  // numpy.random.default_rng(seed)

  // integers(0, bound): uniform in 0..bound-1, by Lemire's multiplication (2019). bound >= 1.
  uint32_t below(uint32_t bound);
  // sort(choice(arange(begin, end), count, replace=False)) for at most 10,000 numbers, by Floyd's algorithm.
  std::vector<int32_t> choose(int32_t begin, int32_t end, int32_t count);

 private:
  uint64_t next64();
  uint32_t next32();

  Uint128 state_ = 0;
  Uint128 increment_ = 0;
  bool has_half_ = false;  // of the last 64 bits
  uint32_t half_ = 0;
};

}  // namespace tandem
