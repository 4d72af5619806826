// Matrix products. The library behind them is oneDNN; every product is cut into chunks of rows or columns that the
// context's own threads take one by one.
//
// Types: operands both f32 or both bf16, result f32 or bf16 (bf16 results never accumulate); or anything when one of
// the three is a reference type, which selects the plain loops in double. Matrices may have a row stride.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

enum class Store { overwrite, accumulate };

// y[M, N] (+)= x[M, K] * w[N, K]^T: the forward pass of a linear layer whose weight is stored [out, in].
void matmul_nt(Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w, Store store = Store::overwrite);

// dx[M, K] (+)= dy[M, N] * w[N, K]
void matmul_nn(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w, Store store = Store::overwrite);

// dw[N, K] (+)= dy[M, N]^T * x[M, K]
void matmul_tn(Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x, Store store = Store::overwrite);

}  // namespace tandem::kernels
