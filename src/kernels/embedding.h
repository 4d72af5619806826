// Lookup of token vectors.
#pragma once

#include <span>

#include "kernels/context.h"

namespace tandem::kernels {

// y[t, :] = table[ids[t], :]. table [V, d] f32, y [T, d] f32 or bf16. Every id must be in 0..V-1 (checked by the op).
void embedding_forward(Context& ctx, const Tensor& y, const Tensor& table, std::span<const int32_t> ids);

// dtable[ids[t], :] += dy[t, :], added in the order of t whatever the number of threads.
void embedding_backward(Context& ctx, const Tensor& dtable, const Tensor& dy, std::span<const int32_t> ids);

}  // namespace tandem::kernels
