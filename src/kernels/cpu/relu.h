// Runs of n consecutive elements of kernels/relu.h. All operands of a call have one type.
#pragma once

#include <stdint.h>

namespace tandem::cpu {

struct ReluKernels {
  void (*forward)(void* y, const void* x, bool bf16, int64_t n);
  void (*backward)(void* dx, const void* dy, const void* y, bool bf16, int64_t n);
};

}  // namespace tandem::cpu
