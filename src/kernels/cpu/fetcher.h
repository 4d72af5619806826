// Memory that is needed after a piece of work, asked for bit by bit while the work is done: of hundreds of lines at
// once most would be dropped.
#pragma once

#include "kernels/cpu/product.h"
#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

inline constexpr int64_t kLineBytes = 64;

// The cache that memory is brought into, as __builtin_prefetch names it.
inline constexpr int kFirstCache = 3, kSecondCache = 2;

// Two regions, one after the other, over `steps` calls of step().
template <int kCache = kSecondCache>
class Fetcher {
 public:
  Fetcher(const Ahead& now, const Ahead& then, int64_t steps) : now_(now), then_(then) {
    if (steps > 0) lines_ = (lines(now_) + lines(then_) + steps - 1) / steps;
  }
  TANDEM_INLINE void step() {
    for (int64_t i = 0; i < lines_ && now_.rows > 0; ++i) {
      __builtin_prefetch(now_.data + byte_, 0, kCache);
      byte_ += kLineBytes;
      if (byte_ < now_.bytes) continue;
      byte_ = 0;
      now_.data += now_.row_bytes;
      if (--now_.rows > 0) continue;
      now_ = then_;
      then_.rows = 0;
    }
  }

 private:
  static int64_t lines(const Ahead& a) { return a.rows * ((a.bytes + kLineBytes - 1) / kLineBytes); }
  Ahead now_, then_;
  int64_t byte_ = 0, lines_ = 0;
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
