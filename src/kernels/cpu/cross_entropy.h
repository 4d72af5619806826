// Rows of kernels/cross_entropy.h.
#pragma once

#include "kernels/cpu/matrix.h"

namespace tandem::cpu {

struct CrossEntropyKernels {
  // dlogits.data and best may be null. label < 0: the row is ignored. kept: room for a row, wanted where dlogits is
  // bf16.
  void (*row)(float* loss, Matrix dlogits, float* kept, int32_t* best, const float* logits, int64_t vocabulary,
              int32_t label, float multiplier, float scale);
};

}  // namespace tandem::cpu
