// Runs of n consecutive elements of kernels/gelu.h. All operands of a call have one type.
#pragma once

#include <stdint.h>

namespace tandem::cpu {

struct GeluKernels {
  void (*forward_tanh)(void* y, const void* x, bool bf16, int64_t n);
  void (*forward_erf)(void* y, const void* x, bool bf16, int64_t n);
  void (*backward_tanh)(void* dx, const void* dy, const void* x, bool bf16, int64_t n);
  void (*backward_erf)(void* dx, const void* dy, const void* x, bool bf16, int64_t n);
};

}  // namespace tandem::cpu
