// Rows copied to and from given places: how new keys and values get into the pages of a cache, and out of them.
// Tensors have one type and row size; rows are whole (a row stride is allowed).
#pragma once

#include <span>

#include "kernels/context.h"

namespace tandem::kernels {

// to[slots[i]] = from[i]; slots are distinct rows of `to`.
void scatter_rows(Context& ctx, const Tensor& to, std::span<const int32_t> slots, const Tensor& from);

// to[i] = from[rows[i]]; zeros where rows[i] is negative.
void gather_rows(Context& ctx, const Tensor& to, const Tensor& from, std::span<const int32_t> rows);

}  // namespace tandem::kernels
