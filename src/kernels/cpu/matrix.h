// A matrix operand of f32 or bf16 as the kernels take it.
#pragma once

#include <stdint.h>

namespace tandem::cpu {

struct Matrix {
  void* data;      // element [0, 0]
  int64_t stride;  // elements from one row to the next
  bool bf16;       // else f32
};

}  // namespace tandem::cpu
