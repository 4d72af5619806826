// Products with packed weights, for inference: from one row (decoding, bound by reading the weight) to thousands (a
// prompt). For training see kernels/matmul.h.
#pragma once

#include "kernels/matmul.h"
#include "kernels/packed_weight.h"

namespace tandem::kernels {

// y[M, N] (+)= x[M, K] W^T, each of x and y f32 or bf16, with row strides; or the reference in double when one of them
// is a reference type. y and x do not overlap. Sums are kept in f32 and accumulation adds the finished sum.
//
// A row of y is the same bits whatever M is, wherever the row stands and however many threads there are: a request's
// tokens do not depend on its neighbours in a batch. (They do depend on the instruction set.)
//
// What is multiplied, by the weight's format:
//   f32         x as it is
//   bf16        x rounded to bf16; exact products
//   int8, int4  x rounded to integers -127..127 per row and group of activation_group() inputs, with the scale
//               max |x| / 127 of the group; sums of a group are exact, the same integers on every instruction set. A
//               group that holds no magnitude above 1e-30 counts as zero, one with a NaN or an infinity gives NaN.
void packed_matmul(Context& ctx, const Tensor& y, const Tensor& x, const PackedWeight& weight,
                   Store store = Store::overwrite);

}  // namespace tandem::kernels
