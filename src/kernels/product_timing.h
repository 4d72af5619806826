// How long a matrix product takes by the program's own kernels and by oneDNN, on this machine.
#pragma once

#include "kernels/context.h"
#include "kernels/gemm.h"

namespace tandem::kernels {

// Seconds, fastest of several runs; 0 where there is no implementation.
struct ProductTimes {
  double own = 0, onednn = 0;
};

// Both in turn, so that a busy moment falls on both, on operands of their own; some 50 ms for products that take less
// than ten. LogicError when there is no implementation at all.
ProductTimes time_product(Context& ctx, const Product& form);

// Who should compute it: the other one than own_kernels()'s choice where it took less than kClearly of the time.
inline constexpr double kClearly = 0.97;
Gemm::By faster(Isa isa, const Product& form, const ProductTimes& times);

}  // namespace tandem::kernels
